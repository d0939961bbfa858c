-- What became of a call; only the first settling counts, so sending it twice is harmless. A tracker that
-- has given one up as unsettled has settled nothing: its process lives, and knows better.
-- executed: repeats until p_window_s after Asterisk has the call. unknown: for at least p_hold_s from
-- now; an Idempotency-Key's time is never shortened. not_executed: every claim is released, the
-- Idempotency-Key may try again.
--
-- It tells the first phase, and whether a tracker will see this call. The tracker's row is locked for
-- that: one that is giving its lease back has either seen this call or is waited for. It comes first,
-- as in callapi.take_turn: nobody waits in a ring.
CREATE OR REPLACE FUNCTION callapi.settle_order(
  p_call uuid, p_state text, p_window_s float8, p_hold_s float8,
  p_root_channel text, p_root_uniqueid text, p_candidates jsonb, p_error_code text,
  p_error_detail text, p_reason text)
RETURNS TABLE (settled boolean, tracked boolean) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
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
         error_code = p_error_code, error_detail = p_error_detail, settled_at = clock_timestamp(),
         ended_at = CASE v_phase WHEN 'ended' THEN clock_timestamp() END
   WHERE c.call_id = p_call
     AND (c.state = 'placing' OR c.phase = 'unknown' AND c.settled_at IS NULL)
   RETURNING c.call_id, c.enterprise, c.host, c.created_at, c.settled_at INTO s;
  settled := FOUND;
  IF settled THEN
    IF p_state = 'not_executed' THEN
      DELETE FROM callapi.claims c WHERE c.call_id = p_call;
    ELSE
      UPDATE callapi.claims c
         SET until = CASE WHEN p_state = 'executed'
               THEN s.settled_at + make_interval(secs => p_window_s)
               ELSE greatest(
                 CASE WHEN c.key LIKE 'same:%' THEN s.created_at + make_interval(secs => p_window_s)
                      ELSE c.until END,
                 clock_timestamp() + make_interval(secs => p_hold_s)) END
       WHERE c.call_id = p_call AND (c.key LIKE 'same:%' OR p_state = 'unknown');
    END IF;
    PERFORM callapi.tell(s.enterprise, p_call, v_phase, p_reason, s.settled_at);
  END IF;
  RETURN NEXT;
END $f$;
