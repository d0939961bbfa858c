-- Who asks, where no call is placed.

-- One round trip: who has this secret, which extensions an operator gave it, whether others share
-- its PBX. As in callapi.admit, only a wrong secret costs a token of its address.
--
-- verdict: known, unauthorized, ambiguous, limited.
CREATE FUNCTION callapi.identify(
  p_secret text, p_address text, p_address_count integer, p_address_per_s float8)
RETURNS TABLE (
  verdict text, number text, name text, host text, extensions text[], shares_host boolean,
  retry_after_s float8)
LANGUAGE plpgsql AS $f$
#variable_conflict use_column
DECLARE e record; v record;
BEGIN
  SELECT d.*, count(*) OVER () AS matches INTO e FROM (
    SELECT DISTINCT btrim(format('%s', x.number)) AS number, format('%s', x.name) AS name,
           btrim(format('%s', x.ip)) AS ip
      FROM enterprises x WHERE x.secret::text = p_secret AND x.active = true) d LIMIT 1;
  IF NOT FOUND THEN
    verdict := 'unauthorized';
    SELECT t.* INTO v FROM callapi.take_token(
      'a:' || p_address, p_address_count, p_address_per_s) t;
    IF v.wait_s > 0 THEN verdict := 'limited'; retry_after_s := v.wait_s; END IF;
    RETURN NEXT; RETURN;
  END IF;
  IF e.matches > 1 OR e.number = '' THEN verdict := 'ambiguous'; RETURN NEXT; RETURN; END IF;
  verdict := 'known'; number := e.number; name := e.name; host := e.ip;
  SELECT r.extensions INTO extensions FROM callapi.enterprise_rules r WHERE r.enterprise = e.number;
  shares_host := EXISTS (
    SELECT 1 FROM enterprises x WHERE x.active = true AND btrim(format('%s', x.ip)) = e.ip
       AND btrim(format('%s', x.number)) <> e.number);
  RETURN NEXT;
END $f$;

-- How far a call has got, and what became of it. A call is followed until its end is confirmed.
ALTER TABLE callapi.calls
  ADD COLUMN phase               text NOT NULL DEFAULT 'placing' CHECK (phase IN (
    'placing', 'unknown', 'accepted', 'agent_ringing', 'agent_answered', 'customer_ringing',
    'talking', 'ended')),
  ADD COLUMN reason              text CHECK (reason IN (
    'answered', 'busy', 'no_answer', 'agent_busy', 'agent_no_answer', 'cancelled', 'rejected',
    'failed', 'unknown')),
  ADD COLUMN candidates          jsonb NOT NULL DEFAULT '[]',  -- roots, one of which is ours
  ADD COLUMN legs                jsonb NOT NULL DEFAULT '[]',
  ADD COLUMN agent_ringing_at    timestamptz,
  ADD COLUMN agent_answered_at   timestamptz,
  ADD COLUMN customer_ringing_at timestamptz,
  ADD COLUMN talking_at          timestamptz,
  ADD COLUMN ended_at            timestamptz,
  ADD COLUMN cancelled_at        timestamptz,  -- when the API was asked to hang up
  ADD COLUMN transferred_to      text,
  ADD COLUMN transferred_at      timestamptz,
  ADD COLUMN disposition         text,         -- the CDR's own word
  ADD COLUMN ring_s              integer,
  ADD COLUMN talk_s              integer,
  -- none: the PBX writes its records at once, and wrote none. off: it writes none at all.
  ADD COLUMN cdr                 text CHECK (cdr IN (
    'pending', 'confirmed', 'none', 'off', 'unreadable'));

-- Nobody followed what was placed before this; its end is not known.
UPDATE callapi.calls
   SET phase = 'ended', ended_at = coalesce(settled_at, created_at),
       reason = CASE state WHEN 'not_executed' THEN 'failed' ELSE 'unknown' END;

CREATE INDEX calls_followed ON callapi.calls (host) WHERE ended_at IS NULL OR cdr = 'pending';
CREATE INDEX calls_by_page ON callapi.calls (enterprise, created_at DESC, call_id DESC);
DROP INDEX callapi.calls_of_enterprise;

-- Numbered per enterprise by a row that its writer holds until it commits: whoever has read up to a
-- number will find nothing below it later. A phase is told once, so no call ends twice.
CREATE TABLE callapi.event_counters (
  enterprise text PRIMARY KEY,
  seq        bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE callapi.call_events (
  enterprise text NOT NULL,
  seq        bigint NOT NULL,
  call_id    uuid NOT NULL,
  phase      text NOT NULL,
  reason     text,
  at         timestamptz NOT NULL,
  PRIMARY KEY (enterprise, seq)
);
CREATE UNIQUE INDEX call_events_once ON callapi.call_events (call_id, phase);

CREATE FUNCTION callapi.tell(
  p_enterprise text, p_call uuid, p_phase text, p_reason text, p_at timestamptz)
RETURNS void LANGUAGE sql AS $f$
  WITH n AS (
    INSERT INTO callapi.event_counters AS c VALUES (p_enterprise, 1)
    ON CONFLICT (enterprise) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq)
  INSERT INTO callapi.call_events
  SELECT p_enterprise, n.seq, p_call, p_phase, p_reason, p_at FROM n
$f$;

-- Who follows a host, by a lease: a session lock would be held by a frozen process. The fence grows
-- when the lease passes to another owner, and only the holder of the fence may write.
CREATE TABLE callapi.trackers (
  host         text PRIMARY KEY,
  owner        text NOT NULL,
  fence        bigint NOT NULL,
  lease_until  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- All calls of a host, also those that were not started here, while somebody asks for them.
CREATE TABLE callapi.host_views (
  host         text PRIMARY KEY,
  wanted_until timestamptz NOT NULL,
  taken_at     timestamptz,
  calls        jsonb,
  error_code   text
) WITH (fillfactor = 50);

-- Take the lease of a host, or keep it: the fence, NULL while somebody else holds it.
CREATE FUNCTION callapi.take_lease(p_host text, p_owner text, p_lease_s float8)
RETURNS bigint LANGUAGE sql AS $f$
  INSERT INTO callapi.trackers AS t
  VALUES (p_host, p_owner, 1, clock_timestamp() + make_interval(secs => p_lease_s))
  ON CONFLICT (host) DO UPDATE
    SET owner = EXCLUDED.owner, lease_until = EXCLUDED.lease_until,
        fence = t.fence + (t.owner <> EXCLUDED.owner)::integer
    WHERE t.owner = EXCLUDED.owner OR t.lease_until <= clock_timestamp()
  RETURNING t.fence
$f$;

-- A tracker's one round trip a turn: write what it has seen, keep the lease, read what to follow.
-- NULL: another tracker has the host, and nothing was written. Without anything to follow the lease
-- is given back. Sending it twice is harmless: a phase only goes forward, an end is told once.
--
-- p_changes: [{"call_id", "phase", "reason", "ago_s", "legs", "root_channel", "root_uniqueid",
-- "disposition", "ring_s", "talk_s", "cdr"}], what is missing stays as it is.
CREATE FUNCTION callapi.follow(
  p_host text, p_owner text, p_fence bigint, p_lease_s float8, p_changes jsonb, p_view jsonb,
  p_error_code text)
RETURNS jsonb LANGUAGE plpgsql AS $f$
DECLARE
  -- Whoever asked for the end is told that it was theirs, unless the parties had talked.
  ends_by_api CONSTANT text[] := ARRAY['no_answer', 'agent_no_answer', 'failed', 'unknown'];
  order_of CONSTANT text[] := ARRAY['placing', 'unknown', 'accepted', 'agent_ringing',
    'agent_answered', 'customer_ringing', 'talking', 'ended'];
  c record; v_at timestamptz; v_calls jsonb; v_wanted boolean;
BEGIN
  UPDATE callapi.trackers SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
   WHERE host = p_host AND owner = p_owner AND fence = p_fence;
  IF NOT FOUND THEN RETURN NULL; END IF;

  -- The tracker, the calls, the counters, in this order, as in callapi.settle.
  PERFORM 1 FROM callapi.calls k
    JOIN jsonb_to_recordset(p_changes) x (call_id uuid) USING (call_id)
   WHERE k.host = p_host ORDER BY k.call_id FOR UPDATE OF k;
  FOR c IN
    SELECT k.call_id, k.enterprise, k.phase AS was, x.phase, x.ago_s, x.legs,
           CASE WHEN k.cancelled_at IS NOT NULL AND x.reason = ANY (ends_by_api)
                THEN 'cancelled' ELSE x.reason END AS reason,
           x.root_channel, x.root_uniqueid, x.disposition, x.ring_s, x.talk_s, x.cdr,
           array_position(order_of, x.phase) > array_position(order_of, k.phase) AS forward
      FROM ROWS FROM (jsonb_to_recordset(p_changes) AS (
             call_id uuid, phase text, reason text, ago_s float8, legs jsonb, root_channel text,
             root_uniqueid text, disposition text, ring_s integer, talk_s integer, cdr text))
           WITH ORDINALITY x
      JOIN callapi.calls k ON k.call_id = x.call_id AND k.host = p_host
     ORDER BY k.enterprise, x.ordinality
  LOOP
    v_at := clock_timestamp() - make_interval(secs => coalesce(c.ago_s, 0));
    UPDATE callapi.calls k
       SET phase = CASE WHEN c.forward THEN c.phase ELSE k.phase END,
           state = CASE WHEN c.forward AND c.phase IN ('unknown', 'ended') AND k.state = 'placing'
                        THEN 'unknown' ELSE k.state END,
           -- An end that is told already may yet be corrected, by a record that came late.
           reason = CASE WHEN c.forward OR c.was = 'ended' THEN coalesce(c.reason, k.reason)
                         ELSE k.reason END,
           legs = coalesce(c.legs, k.legs),
           root_channel = coalesce(k.root_channel, c.root_channel),
           root_uniqueid = coalesce(k.root_uniqueid, c.root_uniqueid),
           disposition = coalesce(c.disposition, k.disposition),
           ring_s = coalesce(c.ring_s, k.ring_s), talk_s = coalesce(c.talk_s, k.talk_s),
           cdr = coalesce(c.cdr, k.cdr),
           agent_ringing_at = CASE WHEN c.forward AND c.phase = 'agent_ringing'
                                   THEN v_at ELSE k.agent_ringing_at END,
           agent_answered_at = CASE WHEN c.forward AND c.phase = 'agent_answered'
                                    THEN v_at ELSE k.agent_answered_at END,
           customer_ringing_at = CASE WHEN c.forward AND c.phase = 'customer_ringing'
                                      THEN v_at ELSE k.customer_ringing_at END,
           -- A talk that nobody watched is known from the PBX's record alone.
           talking_at = CASE WHEN c.forward AND c.phase = 'talking' THEN v_at
                             WHEN c.forward AND k.kind = 'call' AND c.reason = 'answered' THEN
                               coalesce(k.talking_at, v_at - make_interval(secs => c.talk_s))
                             ELSE k.talking_at END,
           ended_at = CASE WHEN c.forward AND c.phase = 'ended' THEN v_at ELSE k.ended_at END
     WHERE k.call_id = c.call_id;
    IF c.forward THEN
      PERFORM callapi.tell(c.enterprise, c.call_id, c.phase, c.reason, v_at);
    END IF;
  END LOOP;

  UPDATE callapi.host_views
     SET calls = coalesce(p_view, calls), error_code = p_error_code,
         taken_at = CASE WHEN p_view IS NULL THEN taken_at ELSE clock_timestamp() END
   WHERE host = p_host AND (p_view IS NOT NULL OR error_code IS DISTINCT FROM p_error_code);
  v_wanted := EXISTS (SELECT 1 FROM callapi.host_views
                       WHERE host = p_host AND wanted_until > clock_timestamp());
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'call_id', k.call_id, 'kind', k.kind, 'code', k.code, 'phone', k.phone,
           'phase', k.phase, 'reason', k.reason, 'root_channel', k.root_channel,
           'root_uniqueid', k.root_uniqueid, 'candidates', k.candidates, 'legs', k.legs,
           'transferred', k.transferred_at IS NOT NULL, 'cdr', k.cdr,
           'age_s', extract(epoch FROM clock_timestamp() - k.created_at),
           'ended_s', extract(epoch FROM clock_timestamp() - k.ended_at))), '[]')
    INTO v_calls FROM callapi.calls k
   WHERE k.host = p_host AND (k.ended_at IS NULL OR k.cdr = 'pending');
  IF v_calls = '[]' AND NOT v_wanted THEN
    UPDATE callapi.trackers SET lease_until = clock_timestamp() WHERE host = p_host;
  END IF;
  RETURN jsonb_build_object('calls', v_calls, 'wanted', v_wanted);
END $f$;

-- Hosts that somebody should follow and nobody does.
CREATE FUNCTION callapi.untracked_hosts() RETURNS TABLE (host text) LANGUAGE sql STABLE AS $f$
  SELECT w.host FROM (
    SELECT c.host FROM callapi.calls c WHERE c.ended_at IS NULL OR c.cdr = 'pending'
    UNION SELECT v.host FROM callapi.host_views v WHERE v.wanted_until > clock_timestamp()) w
   WHERE NOT EXISTS (SELECT 1 FROM callapi.trackers t
                      WHERE t.host = w.host AND t.lease_until > clock_timestamp())
$f$;

DROP FUNCTION callapi.settle(uuid, text, float8, float8, text, text, text);

-- As before; it also tells the first phase, and whether a tracker will see this call. The tracker's
-- row is locked for that: one that is giving its lease back has either seen this call or is waited
-- for. It comes first, as in callapi.follow: nobody waits in a ring.
CREATE FUNCTION callapi.settle(
  p_call uuid, p_state text, p_window_s float8, p_hold_s float8,
  p_root_channel text, p_root_uniqueid text, p_candidates jsonb, p_error_code text,
  p_reason text)
RETURNS TABLE (settled boolean, tracked boolean) LANGUAGE plpgsql AS $f$
DECLARE s record; v_phase text;
BEGIN
  v_phase := CASE p_state WHEN 'executed' THEN 'accepted' WHEN 'unknown' THEN 'unknown'
                          ELSE 'ended' END;
  PERFORM 1 FROM callapi.trackers t JOIN callapi.calls c ON c.host = t.host
    WHERE c.call_id = p_call AND t.lease_until > clock_timestamp() FOR SHARE OF t;
  tracked := FOUND;
  UPDATE callapi.calls c
     SET state = p_state, phase = v_phase, reason = p_reason, candidates = p_candidates,
         root_channel = p_root_channel, root_uniqueid = p_root_uniqueid,
         error_code = p_error_code, settled_at = clock_timestamp(),
         ended_at = CASE v_phase WHEN 'ended' THEN clock_timestamp() END
   WHERE c.call_id = p_call AND c.state = 'placing'
   RETURNING c.call_id, c.enterprise, c.host, c.created_at, c.settled_at INTO s;
  settled := FOUND;
  IF settled THEN
    IF p_state = 'not_executed' THEN
      DELETE FROM callapi.claims c WHERE c.call_id = p_call;
    ELSE
      UPDATE callapi.claims c
         SET until = CASE p_state
               WHEN 'executed' THEN s.created_at + make_interval(secs => p_window_s)
               ELSE greatest(c.until, clock_timestamp() + make_interval(secs => p_hold_s)) END
       WHERE c.call_id = p_call AND (c.key LIKE 'same:%' OR p_state = 'unknown');
    END IF;
    PERFORM callapi.tell(s.enterprise, p_call, v_phase, p_reason, s.settled_at);
  END IF;
  RETURN NEXT;
END $f$;

-- As before; a late call that is new to the trackers is one to follow.
CREATE OR REPLACE FUNCTION callapi.settle_late(
  p_call uuid, p_root_channel text, p_root_uniqueid text, p_hung_up boolean)
RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE s record; settled boolean;
BEGIN
  UPDATE callapi.calls c
     SET state = 'executed', root_channel = p_root_channel, root_uniqueid = p_root_uniqueid,
         phase = CASE c.phase WHEN 'ended' THEN c.phase ELSE 'accepted' END,
         cancelled_at = CASE WHEN p_hung_up THEN clock_timestamp() ELSE c.cancelled_at END,
         cdr = CASE c.phase WHEN 'ended' THEN 'pending' ELSE c.cdr END,
         error_code = CASE WHEN p_hung_up THEN 'late-call-hung-up' ELSE 'late-call' END,
         settled_at = clock_timestamp()
   WHERE c.call_id = p_call AND c.state IN ('placing', 'unknown')
   RETURNING c.enterprise, c.phase, c.settled_at INTO s;
  settled := FOUND;
  IF settled AND p_hung_up THEN DELETE FROM callapi.claims c WHERE c.call_id = p_call; END IF;
  IF settled AND s.phase = 'accepted' THEN
    PERFORM callapi.tell(s.enterprise, p_call, 'accepted', NULL, s.settled_at);
  END IF;
  RETURN settled;
END $f$;
