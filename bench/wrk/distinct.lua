-- No two requests are alike: each has its own number, in the path and in X-Request-Id.
local number, begin, middle = 0, "", ""

function init(arguments)
    begin = "GET " .. wrk.path .. "/"
    middle = " HTTP/1.1\r\n" .. fields() .. "X-Request-Id: bench-"
    math.randomseed(os.time())
    number = math.random(1, 1000) * 10000000
end

function request()
    number = number + 1
    return begin .. number .. middle .. number .. "\r\n\r\n"
end
