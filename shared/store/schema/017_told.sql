-- What each process tells the others of the PBXs that it asks, every few seconds while it asks them:
-- the panel may be answered by any of them. A process that is gone leaves its row until it is swept.
CREATE TABLE callapi.host_states (
  host    text NOT NULL,
  process text NOT NULL,
  told_at timestamptz NOT NULL,
  state   jsonb NOT NULL,       -- what pbx/telling.py writes
  PRIMARY KEY (host, process)
);

-- Whether a PBX could be reached when it was last asked, by whichever process, and since when it is so.
CREATE TABLE callapi.host_reach (
  host       text PRIMARY KEY,
  is_up      boolean NOT NULL,
  since      timestamptz NOT NULL,
  seen_at    timestamptz NOT NULL,
  error_code text,              -- the last error, also of one that is reached again
  error_at   timestamptz
);

-- What requests with an enterprise's right secret have shown: that it was in the URL, a limit that was hit.
CREATE TABLE callapi.notices (
  enterprise text NOT NULL,
  what       text NOT NULL,
  times      bigint NOT NULL,
  first_at   timestamptz NOT NULL,
  last_at    timestamptz NOT NULL,
  PRIMARY KEY (enterprise, what)
);
