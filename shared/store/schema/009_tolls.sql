-- What limits on tolls look at: when a PBX was last looked at, which calls are open, what was called
-- before; and which calls this service ended because they had lasted too long.
ALTER TABLE callapi.trackers ADD COLUMN reached_at timestamptz;
ALTER TABLE callapi.calls ADD COLUMN cut_at timestamptz;
CREATE INDEX calls_open ON callapi.calls (enterprise) WHERE ended_at IS NULL;
-- A number with its + and without are one.
CREATE INDEX calls_of_phone ON callapi.calls (enterprise, ltrim(phone, '+'), created_at)
  WHERE kind = 'call';
CREATE INDEX calls_of_code ON callapi.calls (enterprise, code, created_at);
CREATE INDEX calls_of_transfer ON callapi.calls (enterprise, transferred_to, transferred_at)
  WHERE transferred_to IS NOT NULL;
