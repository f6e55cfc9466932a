<?php

// PHP's curl: one handle for the whole plan, so that it can keep its connection.

declare(strict_types=1);

[, $plan, $answers] = $argv;
$handle = curl_init();

foreach (file($plan, FILE_IGNORE_NEW_LINES) as $line) {
    [$step, $method, $url, $body, $how] = explode("\t", $line);
    curl_reset($handle);
    $fields = ['Authorization: Basic Y2xpZW50OmNsaWVudA=='];
    $options = [
        CURLOPT_URL => $url,
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_ENCODING => '', // all that it can undo
        CURLOPT_TIMEOUT => 20,
    ];
    if ($how !== 'none') {
        $fields[] = 'Content-Type: application/json';
    }
    if ($how === 'expect') {
        $fields[] = 'Expect: 100-continue';
    }
    if ($how === 'chunked') {
        $options += [CURLOPT_UPLOAD => true, CURLOPT_INFILE => fopen($body, 'rb')]; // of a length that nobody has told
    } elseif ($how !== 'none') {
        $options[CURLOPT_POSTFIELDS] = file_get_contents($body);
    }
    curl_setopt_array($handle, $options + [CURLOPT_HTTPHEADER => $fields]);
    $content = curl_exec($handle);
    if ($content === false) {
        fwrite(STDERR, "$step: " . curl_error($handle) . "\n");
        exit(1);
    }
    file_put_contents("$answers/$step", $content);
    echo implode("\t", [$step, curl_getinfo($handle, CURLINFO_RESPONSE_CODE), curl_getinfo($handle, CURLINFO_CONTENT_TYPE)]), "\n";
}
