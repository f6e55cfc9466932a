<?php

// PHP's curl, with a form that it makes by itself (multipart would be an array), and a check of the answer's members and types.

declare(strict_types=1);

[, $base, $order] = $argv;

function call(string $step, string $url, array $options): string
{
    $handle = curl_init($url);
    curl_setopt_array($handle, $options + [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20]);
    $content = curl_exec($handle);
    if ($content === false) {
        fwrite(STDERR, "$step: " . curl_error($handle) . "\n");
        exit(1);
    }
    echo implode("\t", [$step, curl_getinfo($handle, CURLINFO_RESPONSE_CODE), curl_getinfo($handle, CURLINFO_CONTENT_TYPE)]), "\n";
    return $content;
}

$form = http_build_query(['grant_type' => 'password', 'username' => 'machine', 'password' => 'påss']);
$token = json_decode(
    call('login', "$base/oauth/v2/token", [CURLOPT_USERPWD => 'client:secret', CURLOPT_POSTFIELDS => $form]),
    true,
    8,
    JSON_THROW_ON_ERROR
);
if (array_keys($token) !== ['access_token', 'expires_in'] || array_filter($token, 'is_string') !== $token) {
    exit(2);
}
$bearer = "Authorization: Bearer {$token['access_token']}";
call('list', "$base/corporate-accounts/v2/accounts", [CURLOPT_HTTPHEADER => [$bearer]]);
call('order', "$base/corporate-mobile-subscriptions/v2/orders", [
    CURLOPT_HTTPHEADER => [$bearer, 'Content-Type: application/json'],
    CURLOPT_POSTFIELDS => $order,
]);
if (call('logout', "$base/oauth/v2/logout", [CURLOPT_HTTPHEADER => [$bearer]]) !== 'OK!') {
    exit(3);
}
