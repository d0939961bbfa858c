-- Write what a host's tracker has seen of the calls that began elsewhere, and tell of it whoever
-- listens; in one transaction, by the lease's holder alone. NULL: another one has the host. Sending it
-- twice is harmless: a call's step only grows, and what was told is noted with it.
--
-- p_seen: {"error_code": why it could not be looked at, or null, "changes": [{"call", "root_uniqueid",
-- "step", "phase", "took_part", "root_extension", "extensions", "age_s"}], "may_share": whether enterprises
-- of one PBX may see each other's calls, "load": whether what is known is to be answered}.
-- Returns {"watched": whether anybody listens still, "ours", "held": the roots of those that are, or may
-- be, this service's own, of which nothing was written, "calls": what is known, or null}.
--
-- Whoever loads what is known goes on where another one ceased, or the database was away. Was nobody
-- looking for some seconds, then whoever listens is told that calls may have been missed.
CREATE OR REPLACE FUNCTION callapi.tell_elsewhere(
  p_host text, p_owner text, p_fence bigint, p_seen jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  v_error text := p_seen->>'error_code';
  v_ours text[] := '{}'; v_held text[] := '{}'; v_hosts text[];
  w record; c record; v_kind text; v_is_own boolean; v_extensions text[]; v_shares boolean;
  v_news boolean; v_missed boolean; v_gap boolean; v_pbx jsonb;
  v_told jsonb := '[]'; v_sandbox jsonb;
BEGIN
  -- One at a time: what a tracker has given up may yet be written, and is waited for here.
  SELECT t.reached_at INTO c FROM callapi.trackers t
   WHERE t.host = p_host AND t.owner = p_owner AND t.fence = p_fence FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_missed := (p_seen->>'load')::boolean AND v_error IS NULL
              AND coalesce(c.reached_at < clock_timestamp() - interval '3 seconds', false);

  FOR c IN SELECT * FROM jsonb_to_recordset(p_seen->'changes') x (
             call jsonb, root_uniqueid text, step integer, phase text, took_part text[],
             root_extension text, extensions text[], age_s float8)
  LOOP
    UPDATE callapi.pbx_calls p
       SET step = c.step, call = c.call, took_part = c.took_part, changed_at = clock_timestamp()
     WHERE p.host = p_host AND p.root_uniqueid = c.root_uniqueid AND p.step < c.step;
    CONTINUE WHEN FOUND OR c.phase = 'ended';
    v_hosts := coalesce(v_hosts, callapi.spellings(p_host));
    v_kind := callapi.may_be_ours(
      v_hosts, c.root_uniqueid, c.root_extension, c.extensions, c.age_s);
    IF v_kind = 'ours' THEN
      v_ours := v_ours || c.root_uniqueid;
    ELSIF v_kind = 'held' THEN
      v_held := v_held || c.root_uniqueid;
    ELSE
      INSERT INTO callapi.pbx_calls (host, root_uniqueid, step, call, took_part)
      VALUES (p_host, c.root_uniqueid, c.step, c.call, c.took_part) ON CONFLICT DO NOTHING;
    END IF;
  END LOOP;

  v_sandbox := jsonb_build_object('sandbox', callapi.is_sandbox(p_host));
  v_news := v_missed OR p_seen->'changes' <> '[]' OR EXISTS (
    SELECT 1 FROM callapi.watches x
     WHERE x.host = p_host
       AND (x.until <= clock_timestamp()
            OR CASE WHEN v_error IS NULL
                    THEN x.watched_at IS NULL OR x.down_code IS NOT NULL OR x.behind
                    ELSE x.down_code IS NULL END));
  IF v_news THEN
    -- By their names, as whoever tells in one transaction of several takes their counters.
    FOR w IN SELECT * FROM callapi.watches x WHERE x.host = p_host ORDER BY x.enterprise FOR UPDATE
    LOOP
      v_pbx := jsonb_build_object('host_ip', p_host, 'error_code', NULL);
      SELECT count(*) > 0 INTO v_is_own FROM callapi.enterprises(ARRAY[p_host]) e
       WHERE e.active AND e.number = w.enterprise;
      v_extensions := (SELECT r.extensions FROM callapi.enterprise_rules r
                        WHERE r.enterprise = w.enterprise);
      v_shares := CASE WHEN v_extensions IS NOT NULL OR (p_seen->>'may_share')::boolean THEN false
                       ELSE callapi.shares_host(w.enterprise, p_host) END;
      IF w.until <= clock_timestamp() OR NOT v_is_own OR v_shares THEN
        IF w.watched_at IS NOT NULL OR w.down_code IS NOT NULL THEN
          PERFORM callapi.tell_pbx(w.enterprise, 'pbx.unwatched', v_pbx);
        END IF;
        DELETE FROM callapi.watches x WHERE x.enterprise = w.enterprise AND x.host = p_host;
        CONTINUE;
      END IF;
      IF v_error IS NOT NULL THEN
        IF w.down_code IS NULL THEN
          PERFORM callapi.tell_pbx(
            w.enterprise, 'pbx.down', v_pbx || jsonb_build_object('error_code', v_error));
          UPDATE callapi.watches x SET down_code = v_error
           WHERE x.enterprise = w.enterprise AND x.host = p_host;
        END IF;
        CONTINUE;
      END IF;
      -- Who shares the PBX is not known yet: it is told once that is.
      UPDATE callapi.watches x
         SET behind = v_shares IS NULL, down_code = NULL,
             watched_at = CASE WHEN v_shares IS NULL THEN x.watched_at
                               ELSE coalesce(x.watched_at, clock_timestamp()) END
       WHERE x.enterprise = w.enterprise AND x.host = p_host
         AND (x.behind <> (v_shares IS NULL) OR x.down_code IS NOT NULL OR x.watched_at IS NULL);
      IF w.down_code IS NOT NULL THEN
        PERFORM callapi.tell_pbx(w.enterprise, 'pbx.up', v_pbx);
      END IF;
      CONTINUE WHEN v_shares IS NULL;
      -- Whoever was behind has missed what ended meanwhile.
      v_gap := (v_missed OR w.behind) AND w.watched_at IS NOT NULL AND w.down_code IS NULL;
      IF v_gap THEN
        PERFORM callapi.tell_pbx(w.enterprise, 'pbx.unwatched', v_pbx);
      END IF;
      IF w.watched_at IS NULL OR v_gap THEN
        PERFORM callapi.tell_pbx(w.enterprise, 'pbx.watched', v_pbx);
      END IF;
      -- What is told is noted once for all, below: each of dozens would write each row anew.
      v_told := v_told || jsonb_build_object('enterprise', w.enterprise, 'extensions', v_extensions);
      SELECT array_agg(p.call ORDER BY p.changed_at, p.root_uniqueid) AS calls, count(*) AS n
        INTO c FROM callapi.pbx_calls p
       WHERE p.host = p_host AND coalesce((p.told->>w.enterprise)::integer, 0) < p.step
         AND (v_extensions IS NULL OR p.took_part && v_extensions)
         AND (p.call->>'phase' <> 'ended' OR p.told ? w.enterprise);
      CONTINUE WHEN c.n = 0;
      WITH n AS (
        INSERT INTO callapi.event_counters AS k VALUES (w.enterprise, c.n)
        ON CONFLICT (enterprise) DO UPDATE SET seq = k.seq + c.n RETURNING k.seq)
      INSERT INTO callapi.call_events (enterprise, seq, at, type, pbx)
      SELECT w.enterprise, n.seq - c.n + x.ordinality, clock_timestamp(), 'pbx.call', x.call || v_sandbox
        FROM n, unnest(c.calls) WITH ORDINALITY x (call, ordinality);
    END LOOP;
    UPDATE callapi.pbx_calls p SET told = p.told || x.told
      FROM (SELECT k.root_uniqueid, jsonb_object_agg(t.enterprise, k.step) AS told
              FROM callapi.pbx_calls k
              JOIN jsonb_to_recordset(v_told) t (enterprise text, extensions text[])
                ON coalesce((k.told->>t.enterprise)::integer, 0) < k.step
               AND (t.extensions IS NULL OR k.took_part && t.extensions)
               AND (k.call->>'phase' <> 'ended' OR k.told ? t.enterprise)
             WHERE k.host = p_host GROUP BY k.root_uniqueid) x
     WHERE p.host = p_host AND p.root_uniqueid = x.root_uniqueid;
    DELETE FROM callapi.pbx_calls p
     WHERE p.host = p_host AND p.call->>'phase' = 'ended' AND NOT EXISTS (
       SELECT 1 FROM callapi.watches x
        WHERE x.host = p_host AND x.behind AND p.told ? x.enterprise);
  END IF;

  RETURN jsonb_build_object(
    'watched', EXISTS (SELECT 1 FROM callapi.watches x WHERE x.host = p_host),
    'ours', to_jsonb(v_ours), 'held', to_jsonb(v_held),
    'calls', CASE WHEN (p_seen->>'load')::boolean THEN (
      SELECT coalesce(jsonb_agg(p.call), '[]') FROM callapi.pbx_calls p
       WHERE p.host = p_host AND p.call->>'phase' <> 'ended') END);
END $f$;
