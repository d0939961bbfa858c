-- What an enterprise was told after a number, at most p_most events that match. A look goes through
-- p_scanned events: `next` is how far it came, whatever matched, so that a rare match costs nobody a
-- scan of days. Without p_after only the newest number is told. `gone`: what follows p_after is not
-- kept any more, or was never told, as after a restored backup; nothing is said then of what is left.
--
-- An event of before calls were written down with them tells the call as it is now, if it is there.
-- p_scope: `mine`, this service's calls; `all`, also those that began elsewhere, and whether its PBX is
-- watched. p_extension: of a call the extension that rings first, of a monitoring the tapped one too, of a
-- call that began elsewhere any that took part. p_call: a call of this service's, and nothing else. What is
-- about a webhook everybody is told but who asks for one call; whether that is a sandbox's is as it is now.
CREATE OR REPLACE FUNCTION callapi.read_events(
  p_enterprise text, p_after bigint, p_scope text, p_extension text, p_call uuid, p_most integer,
  p_scanned integer)
RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_newest bigint; v_oldest bigint; v_end bigint; v_events jsonb; v_count integer; v_last bigint;
  v_sandbox boolean;
BEGIN
  v_newest := coalesce((SELECT c.seq FROM callapi.event_counters c
                         WHERE c.enterprise = p_enterprise), 0);
  v_oldest := coalesce((SELECT min(e.seq) FROM callapi.call_events e
                         WHERE e.enterprise = p_enterprise), v_newest + 1);
  IF p_after IS NULL THEN
    RETURN jsonb_build_object(
      'gone', false, 'events', '[]'::jsonb, 'next', v_newest, 'newest', v_newest);
  ELSIF p_after < v_oldest - 1 OR p_after > v_newest THEN
    RETURN jsonb_build_object('gone', true, 'oldest', v_oldest, 'newest', v_newest);
  END IF;
  v_end := least(v_newest, p_after + p_scanned);
  v_sandbox := EXISTS (SELECT 1 FROM callapi.sandboxes s WHERE s.enterprise = p_enterprise);
  SELECT coalesce(jsonb_agg(f.event ORDER BY f.seq), '[]'), count(*), max(f.seq)
    INTO v_events, v_count, v_last
    FROM (SELECT e.seq, jsonb_build_object('seq', e.seq, 'type', e.type, 'at', e.at,
                   'call', t.call, 'pbx', e.pbx, 'webhook', e.webhook,
                   'sandbox', coalesce(t.call->'sandbox', e.pbx->'sandbox', to_jsonb(v_sandbox))) AS event
            FROM callapi.call_events e,
                 LATERAL (SELECT coalesce(e.call, callapi.told(e.call_id)) AS call) t
           WHERE e.enterprise = p_enterprise AND e.seq > p_after AND e.seq <= v_end
             AND (p_call IS NULL OR e.call_id = p_call)
             AND CASE
                   WHEN e.webhook IS NOT NULL THEN true
                   WHEN e.pbx IS NULL THEN t.call IS NOT NULL
                     AND (p_extension IS NULL OR p_extension = t.call->>'code'
                          OR (t.call->>'kind' = 'monitor' AND p_extension = t.call->>'phone'))
                   ELSE p_scope = 'all'
                     AND (p_extension IS NULL OR e.type <> 'pbx.call'
                          OR e.pbx->'took_part' ? p_extension) END
           ORDER BY e.seq LIMIT p_most) f;
  RETURN jsonb_build_object('gone', false, 'events', v_events, 'newest', v_newest, 'next',
    CASE WHEN v_count = p_most THEN v_last ELSE v_end END);
END $f$;
