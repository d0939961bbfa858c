-- A tracker's one round trip a turn: write what it has seen, keep the lease, read what to follow.
-- NULL: another tracker has the host, and nothing was written. Whoever has nothing to write renews the
-- lease, and what was reached, each second: until then no row is written. Without anything to follow it
-- is given back. Sending it twice is harmless: a phase only goes forward, an end is told once.
--
-- p_changes: [{"call_id", "phase", "reason", "ago_s", "legs", "root_channel", "root_uniqueid",
-- "disposition", "ring_s", "talk_s", "agent", "customer", "cdr", "cut"}], what is missing stays as it is.
-- "agent", "customer": {"answered_by", "ring_s", "talk_s"}, and so on. "cut": true, we end the call
-- because it lasts too long; false, that was not sent. "candidates": roots that may be its own, of a
-- call that nobody has settled; its root, or its phase, settles it. p_reached_s: how long ago the PBX was
-- looked at, NULL: not yet; what was open then was known to be. "ended" answers the ends that were
-- written now, and those that a record has corrected, as they are told. "taken" are, of a call whose root
-- nobody knows, those of others at its extension, up to a minute older: it is none of them.
CREATE OR REPLACE FUNCTION callapi.take_turn(
  p_host text, p_owner text, p_fence bigint, p_lease_s float8, p_changes jsonb, p_view jsonb,
  p_error_code text, p_reached_s float8)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  -- An end that was asked for, or that we made, is told as such, unless the parties had talked.
  ends_by_api CONSTANT text[] := ARRAY['no_answer', 'agent_no_answer', 'failed', 'unknown'];
  order_of CONSTANT text[] := ARRAY['placing', 'unknown', 'accepted', 'agent_ringing',
    'agent_answered', 'customer_ringing', 'talking', 'ended'];
  c record; v_at timestamptz; v_told jsonb; v_calls jsonb; v_wanted boolean;
  v_watched boolean; v_ended jsonb := '[]';
BEGIN
  IF p_changes <> '[]' OR p_view IS NOT NULL OR NOT EXISTS (
       SELECT 1 FROM callapi.trackers
        WHERE host = p_host AND owner = p_owner AND fence = p_fence
          AND lease_until > clock_timestamp() + make_interval(secs => p_lease_s - 1)
          AND (p_reached_s IS NULL
               OR reached_at > clock_timestamp() - make_interval(secs => p_reached_s + 1))) THEN
    UPDATE callapi.trackers
       SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s),
           reached_at = greatest(
             reached_at, clock_timestamp() - make_interval(secs => p_reached_s))
     WHERE host = p_host AND owner = p_owner AND fence = p_fence;
    IF NOT FOUND THEN RETURN NULL; END IF;
  END IF;

  -- The tracker, the calls, the counters, in this order, as in callapi.settle_order.
  PERFORM 1 FROM callapi.calls k
    JOIN jsonb_to_recordset(p_changes) x (call_id uuid) USING (call_id)
   WHERE k.host = p_host ORDER BY k.call_id FOR UPDATE OF k;
  FOR c IN
    SELECT k.call_id, k.enterprise, k.phase AS was, x.phase, x.ago_s, x.legs,
           CASE WHEN coalesce(k.cancelled_at, k.cut_at) IS NOT NULL AND x.reason = ANY (ends_by_api)
                THEN 'cancelled' ELSE x.reason END AS reason,
           x.root_channel, x.root_uniqueid, x.disposition, x.ring_s, x.talk_s, x.cdr, x.cut,
           x.agent, x.customer, x.candidates,
           array_position(order_of, x.phase) > array_position(order_of, k.phase) AS forward
      FROM ROWS FROM (jsonb_to_recordset(p_changes) AS (
             call_id uuid, phase text, reason text, ago_s float8, legs jsonb, root_channel text,
             root_uniqueid text, disposition text, ring_s integer, talk_s integer, cdr text,
             cut boolean, agent jsonb, customer jsonb, candidates jsonb))
           WITH ORDINALITY x
      JOIN callapi.calls k ON k.call_id = x.call_id AND k.host = p_host
     ORDER BY k.enterprise, x.ordinality
  LOOP
    v_at := clock_timestamp() - make_interval(secs => coalesce(c.ago_s, 0));
    v_told := CASE WHEN c.was = 'ended' THEN callapi.told(c.call_id) END;
    UPDATE callapi.calls k
       SET phase = CASE WHEN c.forward THEN c.phase ELSE k.phase END,
           state = CASE WHEN k.settled_at IS NULL AND (
                          c.root_uniqueid IS NOT NULL OR c.forward AND c.phase = 'accepted')
                        THEN 'executed'
                        WHEN c.forward AND c.phase IN ('unknown', 'ended') AND k.state = 'placing'
                        THEN 'unknown' ELSE k.state END,
           settled_at = CASE WHEN c.root_uniqueid IS NOT NULL OR c.forward AND c.phase = 'accepted'
                             THEN coalesce(k.settled_at, clock_timestamp()) ELSE k.settled_at END,
           candidates = CASE WHEN k.settled_at IS NULL
                             THEN coalesce(c.candidates, k.candidates) ELSE k.candidates END,
           -- An end that is told already may yet be corrected, by a record that came late.
           reason = CASE WHEN c.forward OR c.was = 'ended' THEN coalesce(c.reason, k.reason)
                         ELSE k.reason END,
           legs = coalesce(c.legs, k.legs),
           root_channel = coalesce(k.root_channel, c.root_channel),
           root_uniqueid = coalesce(k.root_uniqueid, c.root_uniqueid),
           disposition = coalesce(c.disposition, k.disposition),
           ring_s = coalesce(c.ring_s, k.ring_s), talk_s = coalesce(c.talk_s, k.talk_s),
           agent_answered_by = coalesce(c.agent->>'answered_by', k.agent_answered_by),
           agent_ring_s = coalesce((c.agent->>'ring_s')::integer, k.agent_ring_s),
           agent_talk_s = coalesce((c.agent->>'talk_s')::integer, k.agent_talk_s),
           customer_answered_by = coalesce(c.customer->>'answered_by', k.customer_answered_by),
           customer_ring_s = coalesce((c.customer->>'ring_s')::integer, k.customer_ring_s),
           customer_talk_s = coalesce((c.customer->>'talk_s')::integer, k.customer_talk_s),
           cdr = coalesce(c.cdr, k.cdr),
           cut_at = CASE WHEN c.cut IS NULL THEN k.cut_at
                         WHEN c.cut THEN coalesce(k.cut_at, clock_timestamp()) END,
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
    ELSIF v_told <> callapi.told(c.call_id) THEN
      PERFORM callapi.tell_correction(c.enterprise, c.call_id);
    END IF;
    IF c.forward AND c.phase = 'ended'
       OR c.reason IS NOT NULL AND v_told <> callapi.told(c.call_id) THEN
      v_ended := v_ended || (SELECT jsonb_build_object(
          'call_id', k.call_id, 'code', k.code, 'phone', k.phone, 'reason', k.reason,
          'talk_s', k.talk_s, 'corrected', c.was = 'ended')
        FROM callapi.calls k WHERE k.call_id = c.call_id);
    END IF;
  END LOOP;

  UPDATE callapi.host_views
     SET calls = coalesce(p_view, calls), error_code = p_error_code,
         taken_at = CASE WHEN p_view IS NULL THEN taken_at ELSE clock_timestamp() END
   WHERE host = p_host AND (p_view IS NOT NULL OR error_code IS DISTINCT FROM p_error_code);
  v_wanted := EXISTS (SELECT 1 FROM callapi.host_views
                       WHERE host = p_host AND wanted_until > clock_timestamp());
  v_watched := EXISTS (SELECT 1 FROM callapi.watches WHERE host = p_host);
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'call_id', k.call_id, 'kind', k.kind, 'code', k.code, 'phone', k.phone,
           'phase', k.phase, 'reason', k.reason, 'root_channel', k.root_channel,
           'root_uniqueid', k.root_uniqueid, 'candidates', k.candidates, 'legs', k.legs,
           'settled', k.settled_at IS NOT NULL,
           'placing_s', extract(epoch FROM k.settled_at - k.created_at),
           'taken', CASE WHEN k.root_uniqueid IS NULL AND k.state <> 'placing' THEN (
             SELECT jsonb_agg(o.root_channel) FROM callapi.calls o
              WHERE o.host = ANY (callapi.spellings(p_host)) AND o.code = k.code
                AND o.root_channel IS NOT NULL AND o.call_id <> k.call_id
                AND o.created_at > k.created_at - interval '1 minute') END,
           'transferred', k.transferred_at IS NOT NULL, 'cdr', k.cdr,
           'age_s', extract(epoch FROM clock_timestamp() - k.created_at),
           'cut_s', extract(epoch FROM clock_timestamp() - k.cut_at),
           'ended_s', extract(epoch FROM clock_timestamp() - k.ended_at),
           'talked', k.talking_at IS NOT NULL,
           'agent', jsonb_build_object('answered_by', k.agent_answered_by,
                                       'ring_s', k.agent_ring_s, 'talk_s', k.agent_talk_s),
           'customer', jsonb_build_object('answered_by', k.customer_answered_by,
                                          'ring_s', k.customer_ring_s,
                                          'talk_s', k.customer_talk_s))), '[]')
    INTO v_calls FROM callapi.calls k
   WHERE k.host = p_host AND (k.ended_at IS NULL OR k.cdr = 'pending');
  IF v_calls = '[]' AND NOT v_wanted AND NOT v_watched THEN
    UPDATE callapi.trackers SET lease_until = clock_timestamp() WHERE host = p_host;
  END IF;
  RETURN jsonb_build_object(
    'calls', v_calls, 'wanted', v_wanted, 'watched', v_watched, 'ended', v_ended);
END $f$;
