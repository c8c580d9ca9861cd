-- Asks for /mine/N and /theirs/N in turn, N counting up, until so many are answered; the answer to each is the name of its
-- side and its path. Says as JSON what came of it, and ends; or it ends without a word when its time is over.
local count, asked, answered, mine, wrong, repeated = 0, 0, 0, 0, 0, 0
local seen = {}

function init(args) count = tonumber(args[1]) end

function request()
  asked = asked + 1
  return wrk.format("GET", (asked % 2 == 0 and "/mine/" or "/theirs/") .. asked)
end

function response(status, headers, body)
  local side, path, number = body:match("^(%a+) /(%a+)/(%d+)$")
  number = tonumber(number or 0)
  local mode = number % 2 == 0 and "mine" or "theirs"
  if status ~= 200 or path ~= mode or (path == "mine") ~= (side == "program") then wrong = wrong + 1 end
  if seen[number] then repeated = repeated + 1 end
  seen[number] = true
  answered = answered + 1
  if path == "mine" then mine = mine + 1 end
  if answered < count then return end
  -- What else was asked is on its way, one for each connection, or lost.
  local result = '{"answered": %d, "mine": %d, "wrong": %d, "repeated": %d, "others": %d}\n'
  io.write("\n", string.format(result, answered, mine, wrong, repeated, asked - answered))
  io.flush()
  os.exit(0)
end
