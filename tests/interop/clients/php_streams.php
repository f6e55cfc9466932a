<?php

// PHP's http:// streams, as file_get_contents uses them: one connection for each request. A third argument is the version of HTTP.

declare(strict_types=1);

[, $plan, $answers, $version] = $argv;

foreach (file($plan, FILE_IGNORE_NEW_LINES) as $line) {
    [$step, $method, $url, $body, $how] = explode("\t", $line);
    $options = [
        'method' => $method,
        'header' => ['Authorization: Basic Y2xpZW50OmNsaWVudA=='],
        'protocol_version' => (float) $version,
        'ignore_errors' => true, // the content of errors is wanted
        'timeout' => 20,
    ];
    if ($how !== 'none') {
        $options['header'][] = 'Content-Type: application/json';
        $options['content'] = file_get_contents($body);
    }
    $answer = fopen($url, 'rb', false, stream_context_create(['http' => $options]));
    if ($answer === false) {
        exit(1);
    }
    $head = stream_get_meta_data($answer)['wrapper_data'];
    file_put_contents("$answers/$step", $answer);
    $status = explode(' ', $head[0])[1];
    $type = '';
    foreach ($head as $field) {
        if (stripos($field, 'Content-Type:') === 0) {
            $type = trim(substr($field, 13));
        }
    }
    echo implode("\t", [$step, $status, $type]), "\n";
}
