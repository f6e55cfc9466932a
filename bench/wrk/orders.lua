-- Orders as an order system places them, each for another subscription, with another id.
local number, begin, middle = 0, "", '\r\n\r\n{"productId": "50795", "msisdn": "47'

function init(arguments)
    begin = "POST " .. wrk.path .. " HTTP/1.1\r\n" .. fields()
        .. "User-Agent: orders/1.0\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: 69\r\nX-Request-Id: "
    math.randomseed(os.time())
    number = math.random(10000000, 50000000)
end

function request()
    number = number + 1
    return begin .. number .. middle .. number .. '", "type": "ADD_PRODUCT"}'
end
