-- A rewrite shown in the buffer before it touches it: lines that would go are marked, lines that would come are drawn
-- below them. Each change is kept or dropped by a key or by `:Seedls accept` / `reject`. Owns one preview per buffer.

local server = require('seedls.server')

local M = {}

local namespace = vim.api.nvim_create_namespace('seedls.preview')

---@class seedls.Shown A change and the mark that follows it through other edits.
---@field hunk seedls.Hunk
---@field mark integer?
---@field below_mark integer lines from the mark down to the change: 1 behind the last line, else 0

---@class seedls.Preview
---@field title string
---@field changes seedls.Shown[]
---@field keys string[] mapped while it is open
---@field num_kept integer
---@field is_touched boolean a change was kept or dropped
---@field on_end fun(num_kept: integer)

local previews = {} ---@type table<integer, seedls.Preview>

---@param buffer integer
---@param shown seedls.Shown
---@return integer? first, integer? last rows [first, last) that the change replaces now; nil when they are not its lines
local function place_of(buffer, shown)
  local mark = vim.api.nvim_buf_get_extmark_by_id(buffer, namespace, shown.mark, { details = true })
  if #mark == 0 then
    return nil
  end
  local first = mark[1] + shown.below_mark
  local last = first + #shown.hunk.old
  local now = vim.api.nvim_buf_get_lines(buffer, first, last, false)
  return vim.deep_equal(now, shown.hunk.old) and first or nil, last
end

---@param lines string[]
---@param tabstop integer
---@return table virtual lines
local function drawn(lines, tabstop)
  return vim.tbl_map(function(line)
    return { { line:gsub('\t', (' '):rep(tabstop)) .. ' ', 'SeedlsAdd' } }
  end, lines)
end

---@param keys seedls.PreviewKeymaps
---@return string
local function hint(keys)
  local parts = {}
  for _, pair in ipairs({ { 'accept', 'keep' }, { 'reject', 'drop' }, { 'accept_all', 'keep all' }, { 'reject_all', 'drop all' } }) do
    if keys[pair[1]] then
      table.insert(parts, ('%s %s'):format(keys[pair[1]], pair[2]))
    end
  end
  return table.concat(parts, '  ')
end

---@param buffer integer
---@param hunk seedls.Hunk
---@param label string
---@return integer mark, integer below_mark
local function draw(buffer, hunk, label)
  local num_lines = vim.api.nvim_buf_line_count(buffer)
  local below = drawn(hunk.new, vim.bo[buffer].tabstop)
  local head = { { ('▎%s '):format(label), 'SeedlsHint' } }
  if #hunk.old == 0 then
    -- Nothing goes: the new lines hang above the line they push down, or below the last one.
    local is_last = hunk.row >= num_lines
    local mark = vim.api.nvim_buf_set_extmark(buffer, namespace, is_last and num_lines - 1 or hunk.row, 0, {
      virt_lines = { head, unpack(below) },
      virt_lines_above = not is_last,
    })
    return mark, is_last and 1 or 0
  end
  local last = hunk.row + #hunk.old
  vim.api.nvim_buf_set_extmark(buffer, namespace, last - 1, 0, { virt_lines = { head, unpack(below) } })
  local mark = vim.api.nvim_buf_set_extmark(buffer, namespace, hunk.row, 0, {
    end_row = last < num_lines and last or last - 1,
    end_col = last < num_lines and 0 or #hunk.old[#hunk.old],
    hl_group = 'SeedlsDelete',
    hl_eol = true,
    right_gravity = false,
    end_right_gravity = true,
  })
  return mark, 0
end

--- Draw every change where its lines are now; those whose lines were edited are dropped.
---@param buffer integer
---@return integer num_lost
local function redraw(buffer)
  local preview = previews[buffer]
  local left = {} ---@type seedls.Shown[]
  for _, shown in ipairs(preview.changes) do
    local first = shown.hunk.row ---@type integer?
    if shown.mark then
      first = place_of(buffer, shown)
    end
    if first then
      table.insert(left, { hunk = vim.tbl_extend('force', shown.hunk, { row = first }), below_mark = 0 })
    end
  end
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  local keys = hint(require('seedls').options.preview_keymaps)
  for number, shown in ipairs(left) do
    local label = ('%s %d/%d'):format(preview.title, number, #left)
    label = number == 1 and keys ~= '' and label .. '   ' .. keys or label
    shown.mark, shown.below_mark = draw(buffer, shown.hunk, label)
  end
  local num_lost = #preview.changes - #left
  preview.changes = left
  return num_lost
end

---@param buffer integer
local function close(buffer)
  local preview = previews[buffer]
  previews[buffer] = nil
  if vim.api.nvim_buf_is_valid(buffer) then
    vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
    for _, key in ipairs(preview.keys) do
      pcall(vim.keymap.del, 'n', key, { buffer = buffer })
    end
  end
  preview.on_end(preview.num_kept)
end

---@param buffer integer
---@return boolean
function M.is_open(buffer)
  return previews[buffer == 0 and vim.api.nvim_get_current_buf() or buffer] ~= nil
end

---@param buffer integer
local function close_when_empty(buffer)
  if #previews[buffer].changes == 0 then
    close(buffer)
  end
end

--- The change at the cursor, else the next one below, else the last.
---@param buffer integer
---@return integer? index
local function at_cursor(buffer)
  local row = vim.api.nvim_win_get_cursor(0)[1] - 1
  local changes = previews[buffer].changes
  for index, shown in ipairs(changes) do
    if row < shown.hunk.row + math.max(1, #shown.hunk.old) then
      return index
    end
  end
  return #changes > 0 and #changes or nil
end

--- Put the new lines of a change into the buffer.
---@param buffer integer
---@param shown seedls.Shown
---@return boolean
local function apply(buffer, shown)
  local first, last = place_of(buffer, shown)
  if not first then
    return false
  end
  vim.api.nvim_buf_set_lines(buffer, first, last, true, shown.hunk.new)
  return true
end

---@param buffer integer
---@param is_kept boolean
---@param is_all boolean
local function decide(buffer, is_kept, is_all)
  local preview = previews[buffer]
  if not preview then
    return server.say('nothing is previewed here', vim.log.levels.WARN)
  end
  preview.is_touched = true
  local index = at_cursor(buffer)
  local first, last = is_all and 1 or index, is_all and #preview.changes or index
  for number = last or 0, first or 1, -1 do
    local shown = table.remove(preview.changes, number)
    if is_kept then
      if apply(buffer, shown) then
        preview.num_kept = preview.num_kept + 1
      else
        server.say('the text changed there meanwhile; that change was dropped', vim.log.levels.WARN)
      end
    end
  end
  redraw(buffer)
  close_when_empty(buffer)
end

--- Keep the change at the cursor, or all of them.
---@param buffer integer
---@param is_all boolean?
function M.accept(buffer, is_all)
  decide(buffer, true, is_all or false)
end

--- Drop the change at the cursor, or all of them.
---@param buffer integer
---@param is_all boolean?
function M.reject(buffer, is_all)
  decide(buffer, false, is_all or false)
end

--- Move the cursor to the next change (`step` 1) or the previous one (-1), round the end.
---@param buffer integer
---@param step integer
function M.go(buffer, step)
  local changes = previews[buffer] and previews[buffer].changes or {}
  local row = vim.api.nvim_win_get_cursor(0)[1] - 1
  local target = step > 0 and changes[1] or changes[#changes]
  for index = 1, #changes do
    local shown = changes[step > 0 and index or #changes + 1 - index]
    if (shown.hunk.row - row) * step > 0 then
      target = shown
      break
    end
  end
  if target then
    local num_lines = vim.api.nvim_buf_line_count(buffer)
    vim.api.nvim_win_set_cursor(0, { math.min(target.hunk.row + 1, num_lines), 0 })
  end
end

---@param buffer integer
---@return string[] keys
local function map_keys(buffer)
  local keys = require('seedls').options.preview_keymaps
  local actions = {
    accept = function() M.accept(buffer) end,
    reject = function() M.reject(buffer) end,
    accept_all = function() M.accept(buffer, true) end,
    reject_all = function() M.reject(buffer, true) end,
    next = function() M.go(buffer, 1) end,
    previous = function() M.go(buffer, -1) end,
  }
  local mapped = {}
  for name, action in pairs(actions) do
    if keys[name] then
      vim.keymap.set('n', keys[name], action, { buffer = buffer, nowait = true, desc = 'seedls preview: ' .. name })
      table.insert(mapped, keys[name])
    end
  end
  return mapped
end

--- Virtual lines above the first line are drawn only when the window is told to make room.
---@param buffer integer
local function reveal(buffer)
  local first = previews[buffer].changes[1]
  if first.hunk.row == 0 and #first.hunk.old == 0 then
    vim.fn.winrestview({ topline = 1, topfill = #first.hunk.new + 1 })
  elseif first.hunk.row + 1 < vim.fn.line('w0') or first.hunk.row + 1 > vim.fn.line('w$') then
    M.go(buffer, 1)
  end
end

--- Show changes that are valid on the buffer as it is now. An open preview of the buffer ends first.
---@param buffer integer
---@param title string
---@param hunks seedls.Hunk[]
---@param on_end fun(num_kept: integer) called once, when every change is decided or the preview is taken away
function M.show(buffer, title, hunks, on_end)
  if previews[buffer] then
    close(buffer)
  end
  local changes = vim.tbl_map(function(hunk)
    return { hunk = hunk, below_mark = 0 }
  end, hunks)
  previews[buffer] = { title = title, changes = changes, keys = {}, num_kept = 0, is_touched = false, on_end = on_end }
  if #changes == 0 then
    return close(buffer)
  end
  redraw(buffer)
  previews[buffer].keys = map_keys(buffer)
  if buffer == vim.api.nvim_get_current_buf() then
    reveal(buffer)
  end
end

--- Replace the changes of an open preview by later ones of the same rewrite. Once the user has decided on one of them
--- they are his: nothing is replaced any more.
---@param buffer integer
---@param title string
---@param hunks seedls.Hunk[]
---@return boolean is_wanted whether later ones are wanted too
function M.update(buffer, title, hunks)
  local preview = previews[buffer]
  if not preview or preview.is_touched then
    return false
  end
  preview.title = title
  preview.changes = vim.tbl_map(function(hunk)
    return { hunk = hunk, below_mark = 0 }
  end, hunks)
  redraw(buffer)
  return true
end

--- Follow edits and closing of previewed buffers from now on.
---@param group integer augroup
function M.watch(group)
  vim.api.nvim_create_autocmd({ 'TextChanged', 'TextChangedI' }, {
    group = group,
    callback = function(event)
      if previews[event.buf] and redraw(event.buf) > 0 then
        server.say('a change was dropped: its lines were edited', vim.log.levels.WARN)
        close_when_empty(event.buf)
      end
    end,
  })
  vim.api.nvim_create_autocmd('BufUnload', {
    group = group,
    callback = function(event)
      if previews[event.buf] then
        close(event.buf)
      end
    end,
  })
end

return M
