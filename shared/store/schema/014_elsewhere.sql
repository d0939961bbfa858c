-- Who listens to all calls of its PBX, until when. A row is there until its end was told. What was told
-- last: `watched_at`, NULL: not yet that it is watched; `down_code`, why it cannot be looked at, NULL: it
-- can. `behind`: there is more that could not be told yet.
CREATE TABLE callapi.watches (
  enterprise text NOT NULL,
  host       text NOT NULL,
  until      timestamptz NOT NULL,
  watched_at timestamptz,
  down_code  text,
  behind     boolean NOT NULL DEFAULT false,
  PRIMARY KEY (enterprise, host)
) WITH (fillfactor = 50);
CREATE INDEX watches_of_host ON callapi.watches (host);

-- The calls that began elsewhere and have not ended, as the host's tracker saw them last: the next one
-- goes on from here. `told` is by enterprise how much of it that was told, a number as `step`.
CREATE TABLE callapi.pbx_calls (
  host          text NOT NULL,
  root_uniqueid text NOT NULL,
  step          integer NOT NULL,
  call          jsonb NOT NULL,
  took_part     text[] NOT NULL,
  told          jsonb NOT NULL DEFAULT '{}',
  changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (host, root_uniqueid)
) WITH (fillfactor = 50);

-- What is told of such a call, or of a PBX, is in `pbx`; it has no call_id, and no phase.
ALTER TABLE callapi.call_events ALTER COLUMN call_id DROP NOT NULL;
ALTER TABLE callapi.call_events ALTER COLUMN phase DROP NOT NULL;
ALTER TABLE callapi.call_events ADD COLUMN pbx jsonb;
