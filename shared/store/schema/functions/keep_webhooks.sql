-- What a sender sees to now and then: that it is known that somebody sends, for p_sender_s seconds; that
-- nothing is sent to whose enterprise is not active, and a webhook is off for good once no enterprise has
-- had its number for p_gone_s, which may be another's by then; and that the PBXs are watched, for p_watch_s,
-- of whoever wants all calls.
-- Returns the webhooks that were switched off: [{"id", "enterprise"}].
CREATE OR REPLACE FUNCTION callapi.keep_webhooks(
  p_sender_s float8, p_watch_s float8, p_gone_s float8)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_there text[]; v_active text[]; v_off jsonb;
BEGIN
  INSERT INTO callapi.webhook_sender AS s (until)
  VALUES (clock_timestamp() + make_interval(secs => p_sender_s))
  ON CONFLICT (one) DO UPDATE SET until = greatest(s.until, EXCLUDED.until);
  IF NOT EXISTS (SELECT 1 FROM callapi.webhooks) THEN RETURN '[]'; END IF;

  SELECT coalesce(array_agg(e.number), '{}'),
         coalesce(array_agg(e.number) FILTER (WHERE e.active), '{}')
    INTO v_there, v_active FROM callapi.enterprises() e;
  UPDATE callapi.webhooks w SET absent_since = NULL
   WHERE w.absent_since IS NOT NULL AND w.enterprise = ANY (v_active);
  -- Whose row is there, and not active, is not gone, however long that lasts: noted now and then.
  UPDATE callapi.webhooks w SET absent_since = clock_timestamp()
   WHERE w.enterprise <> ALL (v_active)
     AND (w.absent_since IS NULL
          OR (w.enterprise = ANY (v_there)
              AND w.absent_since < clock_timestamp() - make_interval(secs => p_gone_s / 24)));
  WITH off AS (
    UPDATE callapi.webhooks w
       SET disabled_at = coalesce(w.disabled_at, clock_timestamp()),
           disabled_why = 'enterprise-gone', test = NULL
     WHERE w.disabled_why IS DISTINCT FROM 'enterprise-gone' AND w.enterprise <> ALL (v_there)
       AND w.absent_since < clock_timestamp() - make_interval(secs => p_gone_s)
    RETURNING w.id, w.enterprise)
  SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') INTO v_off FROM off o;

  INSERT INTO callapi.watches AS x (enterprise, host, until)
  SELECT DISTINCT e.number, e.host, clock_timestamp() + make_interval(secs => p_watch_s)
    FROM callapi.webhooks w JOIN callapi.enterprises() e ON e.number = w.enterprise AND e.active
   WHERE w.disabled_at IS NULL AND w.wanted->>'scope' = 'all' AND e.host <> ''
   ORDER BY 1, 2
  ON CONFLICT (enterprise, host) DO UPDATE SET until = greatest(x.until, EXCLUDED.until);
  RETURN v_off;
END $f$;
