-- Orders, each with an Idempotency-Key of its own: a path, a body and a key as an order system sends them.
local number, begin, last = 0, "", ""

function init(arguments)
    begin = "POST " .. wrk.path .. " HTTP/1.1\r\n" .. fields()
        .. "User-Agent: orders/1.0\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        .. "Content-Length: 69\r\nIdempotency-Key: 6f1d2f2e-1b1f-4d0e-"
    last = '\r\n\r\n{"productId": "50795", "msisdn": "47'
    local urandom = io.open("/dev/urandom", "rb")
    local a, b, c = string.byte(urandom:read(3), 1, 3)
    urandom:close()
    number = 10000000 + (a * 65536 + b * 256 + c) * 4
end

function request()
    number = number + 1
    return begin .. number .. last .. number .. '", "type": "ADD_PRODUCT"}'
end
