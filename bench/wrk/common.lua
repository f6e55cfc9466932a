-- Stands before each of the other scripts, or alone.

-- The fields that wrk was given on its command line, and Host.
function fields()
    local lines = ""
    for name, value in pairs(wrk.headers) do
        lines = lines .. name .. ": " .. value .. "\r\n"
    end
    return lines
end

-- wrk's own summary, exact and in one line of JSON; times are in microseconds.
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
