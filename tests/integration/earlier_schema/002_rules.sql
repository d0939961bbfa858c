-- What an operator says of an enterprise, and the limits that need it: dialling stopped,
-- destinations, extensions owned on a shared host, wrong secrets per address.

CREATE TABLE callapi.enterprise_rules (
  enterprise text PRIMARY KEY,
  dialling   boolean NOT NULL DEFAULT true,
  allowed    text[],   -- prefixes that may be called; NULL: all
  denied     text[],   -- prefixes that may not, whatever is allowed
  extensions text[]    -- the only ones it may ring and monitor; NULL: nobody said
);

-- For the calls that came up late: whose is a root, and who else is ringing that extension?
CREATE INDEX calls_of_root ON callapi.calls (host, root_uniqueid) WHERE root_uniqueid IS NOT NULL;
CREATE INDEX calls_of_extension ON callapi.calls (host, code, created_at);

-- Prefixes are compared letter by letter, + included: what the PBX makes of a number is not known.
CREATE FUNCTION callapi.may_dial(p_phone text, p_allowed text[], p_denied text[])
RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
  SELECT (coalesce(cardinality(p_allowed), 0) = 0
          OR EXISTS (SELECT 1 FROM unnest(p_allowed) p WHERE starts_with(p_phone, p)))
     AND NOT EXISTS (SELECT 1 FROM unnest(p_denied) p WHERE starts_with(p_phone, p))
$f$;

-- Take a token of a GCRA limit: the seconds to wait if there is none, and how many are left at
-- once. A count of NULL is no limit.
CREATE FUNCTION callapi.take_token(
  p_key text, p_count integer, p_per_s float8, OUT wait_s float8, OUT remaining integer)
LANGUAGE plpgsql AS $f$
DECLARE t interval := make_interval(secs => p_per_s / p_count); v_tat timestamptz;
BEGIN
  IF p_count IS NULL OR p_key IS NULL THEN wait_s := 0; RETURN; END IF;
  INSERT INTO callapi.rate_limits AS r VALUES (p_key, clock_timestamp() + t)
  ON CONFLICT (key) DO UPDATE SET tat = greatest(r.tat, clock_timestamp()) + t
    WHERE r.tat <= clock_timestamp() + t * (p_count - 1)
  RETURNING r.tat INTO v_tat;
  IF FOUND THEN
    wait_s := 0;
    remaining := least(p_count - 1, floor(
      p_count - extract(epoch FROM v_tat - clock_timestamp()) / extract(epoch FROM t)));
  ELSE
    SELECT greatest(0.001, extract(epoch FROM r.tat - clock_timestamp() - t * (p_count - 1)))
      INTO wait_s FROM callapi.rate_limits r WHERE r.key = p_key;
    wait_s := coalesce(wait_s, 0.001); remaining := 0;
  END IF;
END $f$;

-- One request, one round trip: authenticate, find the call that this repeats, take the tokens,
-- claim. READ COMMITTED only: each statement below must see what others committed meanwhile.
-- Locks are always taken in the order key claim, same claim, extension limit, enterprise limit.
-- A limit whose count is NULL is off; `tightest` names the one that refuses, or has least left.
--
-- verdict: new, repeat, unauthorized, ambiguous (the secret does not name exactly one enterprise
-- with a number), key-reused, limited, dialling-stopped,
-- destination-denied, extension-not-owned, shared-host (monitoring where another active enterprise
-- has the same ip, and nobody said which extensions are whose).
CREATE FUNCTION callapi.admit(
  p_secret text, p_call uuid,
  p_kind text, p_code text, p_phone text, p_action text, p_params text, p_key text,
  p_hold_s float8, p_key_hold_s float8,
  p_extension_count integer, p_extension_per_s float8,
  p_enterprise_count integer, p_enterprise_per_s float8,
  p_address text, p_address_count integer, p_address_per_s float8,
  p_allowed text[], p_denied text[], p_shared_hosts text)
RETURNS TABLE (
  verdict text, number text, name text, host text, call_id uuid, state text,
  created_at timestamptz, tightest text, remaining integer, retry_after_s float8)
LANGUAGE plpgsql AS $f$
#variable_conflict use_column
DECLARE
  e record; c record; k text; lim record; rule callapi.enterprise_rules;
  v record; v_now timestamptz;
BEGIN
  -- format() prints as the type itself does: an inet without its netmask, NULL as ''.
  SELECT d.*, count(*) OVER () AS matches INTO e FROM (
    SELECT DISTINCT btrim(format('%s', x.number)) AS number, format('%s', x.name) AS name,
           btrim(format('%s', x.ip)) AS ip
      FROM enterprises x WHERE x.secret::text = p_secret AND x.active = true) d LIMIT 1;
  IF NOT FOUND THEN
    -- Only wrong secrets cost a token: a right one is never locked out by its neighbours.
    verdict := 'unauthorized';
    SELECT t.* INTO v FROM callapi.take_token(
      'a:' || p_address, p_address_count, p_address_per_s) t;
    IF v.wait_s > 0 THEN
      verdict := 'limited'; tightest := 'address'; remaining := 0; retry_after_s := v.wait_s;
    END IF;
    RETURN NEXT; RETURN;
  END IF;
  -- To choose one of several would show one enterprise another's calls, or dial on its PBX.
  IF e.matches > 1 OR e.number = '' THEN verdict := 'ambiguous'; RETURN NEXT; RETURN; END IF;
  number := e.number; name := e.name; host := e.ip;

  SELECT r.* INTO rule FROM callapi.enterprise_rules r WHERE r.enterprise = e.number;
  verdict := CASE
    WHEN NOT rule.dialling THEN 'dialling-stopped'
    WHEN p_kind = 'call' AND NOT (
      callapi.may_dial(p_phone, p_allowed, p_denied)
      AND callapi.may_dial(p_phone, rule.allowed, rule.denied)) THEN 'destination-denied'
    WHEN NOT (p_code = ANY (rule.extensions)
              AND (p_kind = 'call' OR p_phone = ANY (rule.extensions))) THEN 'extension-not-owned'
    WHEN p_kind = 'monitor' AND rule.extensions IS NULL AND p_shared_hosts = 'refuse' AND EXISTS (
      SELECT 1 FROM enterprises x WHERE x.active = true AND btrim(format('%s', x.ip)) = e.ip
         AND btrim(format('%s', x.number)) <> e.number) THEN 'shared-host'
  END;
  IF verdict IS NOT NULL THEN RETURN NEXT; RETURN; END IF;
  call_id := p_call;

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

    FOR lim IN SELECT * FROM (VALUES
        ('extension', 'x:' || e.number || ':' || p_code, p_extension_count, p_extension_per_s),
        ('enterprise', 'e:' || e.number, p_enterprise_count, p_enterprise_per_s)
      ) l (kind, key, count, per_s)
    LOOP
      SELECT t.* INTO v FROM callapi.take_token(lim.key, lim.count, lim.per_s) t;
      IF v.wait_s > 0 THEN
        verdict := 'limited'; tightest := lim.kind; remaining := 0; retry_after_s := v.wait_s;
        RAISE SQLSTATE 'CA001';
      END IF;
      IF remaining IS NULL OR v.remaining < remaining THEN
        tightest := lim.kind; remaining := v.remaining;
      END IF;
    END LOOP;

    INSERT INTO callapi.calls AS s (call_id, enterprise, host, kind, code, phone, action)
    VALUES (p_call, e.number, e.ip, p_kind, p_code, p_phone, p_action)
    RETURNING s.created_at INTO v_now;
    verdict := 'new'; state := 'placing'; created_at := v_now; RETURN NEXT; RETURN;
  EXCEPTION WHEN SQLSTATE 'CA001' THEN
    call_id := NULL; RETURN NEXT; RETURN;
  END;
END $f$;

-- A call of unknown outcome came up late. Hung up again, it no longer blocks its repeats.
CREATE FUNCTION callapi.settle_late(
  p_call uuid, p_root_channel text, p_root_uniqueid text, p_hung_up boolean)
RETURNS boolean LANGUAGE sql AS $f$
  WITH s AS (
    UPDATE callapi.calls
       SET state = 'executed', root_channel = p_root_channel, root_uniqueid = p_root_uniqueid,
           error_code = CASE WHEN p_hung_up THEN 'late-call-hung-up' ELSE 'late-call' END,
           settled_at = clock_timestamp()
     WHERE call_id = p_call AND state IN ('placing', 'unknown') RETURNING call_id),
  released AS (
    DELETE FROM callapi.claims c USING s WHERE c.call_id = s.call_id AND p_hung_up)
  SELECT EXISTS (SELECT 1 FROM s)
$f$;
