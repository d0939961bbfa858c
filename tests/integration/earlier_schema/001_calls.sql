-- Calls, the claims that keep a call from being placed twice, rate limits, pinned host keys.
-- Nothing here alters `enterprises`; it is found by the search_path of the connection, and its
-- columns may be of any type that reads as text.

-- A database owner may have made the schema beforehand, for a user who may not.
DO $$ BEGIN
  IF to_regnamespace('callapi') IS NULL THEN CREATE SCHEMA callapi; END IF;
END $$;

CREATE TABLE callapi.migrations (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE callapi.calls (
  call_id       uuid PRIMARY KEY,
  enterprise    text NOT NULL,
  host          text NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('call', 'monitor')),
  code          text NOT NULL,                 -- the extension that rings first
  phone         text NOT NULL,                 -- whom it is connected with, or the tapped extension
  action        text NOT NULL DEFAULT '',      -- of a monitor: how it listens
  state         text NOT NULL DEFAULT 'placing'
                CHECK (state IN ('placing', 'executed', 'not_executed', 'unknown')),
  root_channel  text,
  root_uniqueid text,
  error_code    text,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  settled_at    timestamptz
);
CREATE INDEX calls_of_enterprise ON callapi.calls (enterprise, created_at DESC);

-- `same:...` is the order itself, `key:...` an Idempotency-Key; both lead to the call they claimed.
CREATE TABLE callapi.claims (
  enterprise text NOT NULL,
  key        text NOT NULL,
  call_id    uuid NOT NULL,
  params     text NOT NULL,
  until      timestamptz NOT NULL,
  PRIMARY KEY (enterprise, key)
) WITH (fillfactor = 70);
CREATE INDEX claims_of_call ON callapi.claims (call_id);

-- GCRA: `tat` is the moment at which the bucket would be full again.
CREATE TABLE callapi.rate_limits (
  key text PRIMARY KEY,
  tat timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE callapi.host_keys (
  host      text NOT NULL,
  port      integer NOT NULL,
  key       text NOT NULL,
  pinned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (host, port)
);

-- What became of a call; only the first settling counts, so sending it twice is harmless.
-- executed: repeats until p_window_s after the placing. unknown: held for p_hold_s from now and
-- never shortened. not_executed: every claim is released, the Idempotency-Key may try again.
CREATE FUNCTION callapi.settle(
  p_call uuid, p_state text, p_window_s float8, p_hold_s float8,
  p_root_channel text, p_root_uniqueid text, p_error_code text)
RETURNS boolean LANGUAGE sql AS $f$
  WITH s AS (
    UPDATE callapi.calls
       SET state = p_state, root_channel = p_root_channel, root_uniqueid = p_root_uniqueid,
           error_code = p_error_code, settled_at = clock_timestamp()
     WHERE call_id = p_call AND state = 'placing' RETURNING call_id, created_at),
  released AS (
    DELETE FROM callapi.claims c USING s
     WHERE c.call_id = s.call_id AND p_state = 'not_executed'),
  held AS (
    UPDATE callapi.claims c
       SET until = CASE p_state
             WHEN 'executed' THEN s.created_at + make_interval(secs => p_window_s)
             ELSE greatest(c.until, clock_timestamp() + make_interval(secs => p_hold_s)) END
      FROM s
     WHERE c.call_id = s.call_id AND p_state <> 'not_executed'
       AND (c.key LIKE 'same:%' OR p_state = 'unknown'))
  SELECT EXISTS (SELECT 1 FROM s)
$f$;

-- Housekeeping: what has expired for a day means nothing any more. Calls are kept: they are history.
CREATE FUNCTION callapi.sweep() RETURNS bigint LANGUAGE sql AS $f$
  WITH c AS (DELETE FROM callapi.claims
              WHERE until < clock_timestamp() - interval '1 day' RETURNING 1),
       r AS (DELETE FROM callapi.rate_limits
              WHERE tat < clock_timestamp() - interval '1 day' RETURNING 1)
  SELECT (SELECT count(*) FROM c) + (SELECT count(*) FROM r)
$f$;
