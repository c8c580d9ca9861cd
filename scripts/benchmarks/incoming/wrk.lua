-- Asks for each of the paths in turn, and says as JSON what came of it.
local paths, turn = {}, 0

function init(args)
  for _, path in ipairs(args) do paths[#paths + 1] = wrk.format("GET", path) end
end

function request()
  turn = turn % #paths + 1
  return paths[turn]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "medianMs": %f, "p99Ms": %f, "failures": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
