-- Take what is to be sent to: webhooks of active enterprises that have news, or a test, and that nobody
-- else sends to. At most p_quick of those that took their last message readily, and p_slow of the others,
-- whoever has waited longest first; each is p_owner's for p_lease_s seconds.
-- Returns {"taken": [callapi.webhook_to_send], "any": whether there is any webhook to look after}.
CREATE OR REPLACE FUNCTION callapi.take_webhooks(
  p_owner text, p_lease_s float8, p_quick integer, p_slow integer)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_due uuid[]; v_taken jsonb;
BEGIN
  SELECT array_agg(d.id) INTO v_due FROM (
    SELECT w.id, w.slow, row_number() OVER (PARTITION BY w.slow ORDER BY w.turn_at, w.id) AS place
      FROM callapi.webhooks w
     WHERE w.lease_until <= clock_timestamp() AND w.absent_since IS NULL
       AND (w.test IS NOT NULL OR (
              w.disabled_at IS NULL AND w.due_at <= clock_timestamp()
              AND w.after_seq <> coalesce((SELECT c.seq FROM callapi.event_counters c
                                            WHERE c.enterprise = w.enterprise), 0)))
       AND EXISTS (SELECT 1 FROM callapi.enterprises() x
                    WHERE x.active AND x.number = w.enterprise)) d
   WHERE d.place <= CASE WHEN d.slow THEN p_slow ELSE p_quick END;
  WITH free AS (
         SELECT w.id FROM callapi.webhooks w
          WHERE w.id = ANY (v_due) AND w.lease_until <= clock_timestamp() FOR UPDATE SKIP LOCKED),
       taken AS (
         UPDATE callapi.webhooks w
            SET owner = p_owner, turn_at = clock_timestamp(),
                lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
          WHERE w.id = ANY (ARRAY(SELECT f.id FROM free f))
         RETURNING callapi.webhook_to_send(w) AS told)
  SELECT coalesce(jsonb_agg(t.told), '[]') INTO v_taken FROM taken t;
  RETURN jsonb_build_object('taken', v_taken, 'any', EXISTS (
    SELECT 1 FROM callapi.webhooks w WHERE w.disabled_at IS NULL OR w.test IS NOT NULL));
END $f$;
