-- Requests from a file of Lua, in turn, for so many seconds; "drained" is said when all are answered.
local ffi = require("ffi")
ffi.cdef [[ typedef struct { long s; long us; } durian_time; int gettimeofday(durian_time *t, void *zone); ]]
local clock = ffi.new("durian_time")

local function now()
   ffi.C.gettimeofday(clock, nil)
   return tonumber(clock.s) + tonumber(clock.us) / 1e6
end

local threads = {}
function setup(thread) table.insert(threads, thread) end

local requests, deadline, at = nil, nil, 0
started, last, answered, failed = 0, 0, 0, 0
sent = -1 -- wrk asks for one request more, before the first, to look at it

function init(args)
   requests = dofile(args[1])
   started = now()
   deadline = started + tonumber(args[2])
end

function delay() return now() > deadline and 3600000 or 0 end

function request()
   sent = sent + 1
   at = at % #requests + 1
   return requests[at]
end

function response(status)
   if status == 200 then answered = answered + 1 else failed = failed + 1 end
   last = now()
   if last > deadline and answered + failed == sent then
      io.write("drained\n")
      io.flush()
   end
end

function done(summary, latency, _)
   local thread = threads[1]
   -- Not wrk's own errors: a server may close a connection that has nothing more to send.
   local lost = thread:get("sent") - thread:get("answered") - thread:get("failed")
   io.write(string.format(
      '{"answered": %d, "failed": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f}\n',
      thread:get("answered"), thread:get("failed") + lost, thread:get("last") - thread:get("started"),
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
