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

-- One request, one round trip: authenticate, find the call that this repeats, take the tokens,
-- claim. READ COMMITTED only: each statement below must see what others committed meanwhile.
-- Locks are always taken in the order key claim, same claim, extension limit, enterprise limit.
-- A limit whose count is NULL is off.
--
-- verdict: new, repeat, unauthorized, ambiguous (the secret does not name exactly one enterprise
-- with a number), key-reused, limited (limited_by says by which limit).
CREATE FUNCTION callapi.admit(
  p_secret text, p_call uuid,
  p_kind text, p_code text, p_phone text, p_action text, p_params text, p_key text,
  p_hold_s float8, p_key_hold_s float8,
  p_extension_count integer, p_extension_per_s float8,
  p_enterprise_count integer, p_enterprise_per_s float8)
RETURNS TABLE (
  verdict text, number text, name text, host text, call_id uuid, state text,
  created_at timestamptz, remaining integer, limited_by text, retry_after_s float8)
LANGUAGE plpgsql AS $f$
#variable_conflict use_column
DECLARE
  e record; c record; k text; lim record; v_tat timestamptz; v_now timestamptz;
BEGIN
  -- format() prints as the type itself does: an inet without its netmask, NULL as ''.
  SELECT d.*, count(*) OVER () AS matches INTO e FROM (
    SELECT DISTINCT btrim(format('%s', x.number)) AS number, format('%s', x.name) AS name,
           btrim(format('%s', x.ip)) AS ip
      FROM enterprises x WHERE x.secret::text = p_secret AND x.active = true) d LIMIT 1;
  IF NOT FOUND THEN verdict := 'unauthorized'; RETURN NEXT; RETURN; END IF;
  -- To choose one of several would show one enterprise another's calls, or dial on its PBX.
  IF e.matches > 1 OR e.number = '' THEN verdict := 'ambiguous'; RETURN NEXT; RETURN; END IF;
  number := e.number; name := e.name; host := e.ip; call_id := p_call;

  BEGIN  -- a refusal raised below undoes the claims and tokens above it
    FOREACH k IN ARRAY array_remove(ARRAY['key:' || p_key, 'same:' || p_params], NULL) LOOP
      FOR attempt IN 1..20 LOOP
        INSERT INTO callapi.claims AS m (enterprise, key, call_id, params, until)
        VALUES (e.number, k, p_call, p_params, clock_timestamp() + make_interval(
                  secs => CASE WHEN k LIKE 'key:%' THEN p_key_hold_s ELSE p_hold_s END))
        ON CONFLICT (enterprise, key) DO UPDATE
          SET call_id = EXCLUDED.call_id, params = EXCLUDED.params, until = EXCLUDED.until
          WHERE m.until <= clock_timestamp();
        EXIT WHEN FOUND;

        -- A new statement, so it sees the winner's commit.
        SELECT m.call_id, m.params, s.state, s.created_at INTO c
          FROM callapi.claims m LEFT JOIN callapi.calls s USING (call_id)
         WHERE m.enterprise = e.number AND m.key = k;
        IF FOUND THEN
          IF c.call_id = p_call THEN  -- our own admission, whose reply was lost
            verdict := 'new'; state := c.state; created_at := c.created_at; RETURN NEXT; RETURN;
          END IF;
          IF c.state IN ('placing', 'executed', 'unknown') THEN
            IF c.params <> p_params THEN verdict := 'key-reused'; RAISE SQLSTATE 'CA001'; END IF;
            UPDATE callapi.claims m SET call_id = c.call_id
             WHERE m.enterprise = e.number AND m.call_id = p_call;
            verdict := 'repeat'; call_id := c.call_id; state := c.state;
            created_at := c.created_at; RETURN NEXT; RETURN;
          END IF;
          -- Its call was proven not executed, or is gone: the claim means nothing any more.
          DELETE FROM callapi.claims m
           WHERE m.enterprise = e.number AND m.key = k AND m.call_id = c.call_id;
        END IF;
        IF attempt = 20 THEN  -- asked again by the client, then given up
          RAISE SQLSTATE '40001' USING MESSAGE = 'a claim is released as often as it is taken';
        END IF;
      END LOOP;
    END LOOP;

    FOR lim IN
      SELECT v.kind, v.key, v.burst, make_interval(secs => v.per_s / v.burst) AS t FROM (VALUES
        ('extension', 'x:' || e.number || ':' || p_code, p_extension_count, p_extension_per_s),
        ('enterprise', 'e:' || e.number, p_enterprise_count, p_enterprise_per_s)
      ) v (kind, key, burst, per_s) WHERE v.burst IS NOT NULL
    LOOP
      INSERT INTO callapi.rate_limits AS r VALUES (lim.key, clock_timestamp() + lim.t)
      ON CONFLICT (key) DO UPDATE SET tat = greatest(r.tat, clock_timestamp()) + lim.t
        WHERE r.tat <= clock_timestamp() + lim.t * (lim.burst - 1)
      RETURNING r.tat INTO v_tat;
      IF NOT FOUND THEN
        SELECT greatest(0, extract(epoch FROM
                 r.tat - clock_timestamp() - lim.t * (lim.burst - 1)))
          INTO retry_after_s FROM callapi.rate_limits r WHERE r.key = lim.key;
        verdict := 'limited'; limited_by := lim.kind; remaining := 0;
        RAISE SQLSTATE 'CA001';
      END IF;
      remaining := least(remaining, floor(
        lim.burst - extract(epoch FROM v_tat - clock_timestamp()) / extract(epoch FROM lim.t)));
    END LOOP;

    INSERT INTO callapi.calls AS s (call_id, enterprise, host, kind, code, phone, action)
    VALUES (p_call, e.number, e.ip, p_kind, p_code, p_phone, p_action)
    RETURNING s.created_at INTO v_now;
    verdict := 'new'; state := 'placing'; created_at := v_now; RETURN NEXT; RETURN;
  EXCEPTION WHEN SQLSTATE 'CA001' THEN
    call_id := NULL; RETURN NEXT; RETURN;
  END;
END $f$;

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
