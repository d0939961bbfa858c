-- The hosts that are no PBX but a stand-in, which rings nobody, and the port on which each listens: an
-- operator says so, never whoever asks for a call. What was called there is told as such for ever.
CREATE TABLE callapi.sandboxes (
  host       text PRIMARY KEY,
  port       integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
  enterprise text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE callapi.calls ADD COLUMN sandbox boolean NOT NULL DEFAULT false;
