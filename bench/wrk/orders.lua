-- Orders as an order system places them: its own Authorization, and another path, id and body for each.
local number, begin, middle, last = 0, "", "", ""

function init(arguments)
    begin = "POST " .. wrk.path .. "/"
    middle = " HTTP/1.1\r\n" .. fields()
        .. "User-Agent: orders/1.0\r\nAccept: application/json\r\nAuthorization: Bearer of-the-client-itself\r\n"
        .. "Content-Type: application/json\r\nContent-Length: 69\r\nX-Request-Id: "
    last = '\r\n\r\n{"productId": "50795", "msisdn": "47'
    math.randomseed(os.time())
    number = math.random(10000000, 50000000)
end

function request()
    number = number + 1
    return begin .. number .. middle .. number .. last .. number .. '", "type": "ADD_PRODUCT"}'
end
