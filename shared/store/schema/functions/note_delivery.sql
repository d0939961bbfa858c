-- Note what became of an attempt, and keep the lease: the webhook as it is now, NULL once another has it,
-- or it was removed; then nothing was written. An attempt is noted once, however often that is sent.
--
-- p_told: {"attempts": as many as were known, "url": where it was sent, "known": the failures in a row
-- that it was judged by, "before", "after": the place in the feed then and now, "wanted": the filters by
-- which it was looked,
-- "test": the one that was sent, or null, "message", "seq", "type", "status", "error", "took_ms": the row
-- of the log, "failures", "failing_s", "retry_s", "slow": how it stands with the receiver from now on, of a
-- test left out, "disabled_why": or null}.
-- A place that somebody has changed meanwhile, to have events sent again, stays as he wants it. So does
-- how it stands with the receiver, where it was told to begin anew: an attempt of before that has failed
-- says nothing of another address, or of one that is enabled again. And the place does not move by filters
-- that are no more: what only the new ones want may lie in between.
CREATE OR REPLACE FUNCTION callapi.note_delivery(
  p_owner text, p_id uuid, p_lease_s float8, p_told jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE w callapi.webhooks; v_why text := p_told->>'disabled_why'; v_is_news boolean;
BEGIN
  SELECT x.* INTO w FROM callapi.webhooks x WHERE x.id = p_id AND x.owner = p_owner FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF w.attempts = (p_told->>'attempts')::bigint THEN
    INSERT INTO callapi.webhook_deliveries AS d
      (webhook, slot, attempt, message, seq, type, status, error, took_ms)
    VALUES (p_id, w.attempts % 1000, w.attempts + 1, p_told->>'message', (p_told->>'seq')::bigint,
            p_told->>'type', (p_told->>'status')::integer, p_told->>'error',
            (p_told->>'took_ms')::integer)
    ON CONFLICT (webhook, slot) DO UPDATE
      SET attempt = EXCLUDED.attempt, at = EXCLUDED.at, message = EXCLUDED.message,
          seq = EXCLUDED.seq, type = EXCLUDED.type, status = EXCLUDED.status,
          error = EXCLUDED.error, took_ms = EXCLUDED.took_ms;
    w.attempts := w.attempts + 1;
    v_is_news := (p_told->>'failures')::integer = 0 OR (
      w.url = p_told->>'url' AND w.failures = (p_told->>'known')::integer);
    IF p_told->>'test' IS NOT NULL THEN
      w.test := CASE WHEN w.test <> (p_told->>'test')::uuid THEN w.test END;
    ELSIF v_is_news THEN
      w.failures := (p_told->>'failures')::integer;
      w.failed_at := CASE WHEN w.failures > 0 THEN clock_timestamp() END;
      w.failing_since := clock_timestamp() - make_interval(secs => (p_told->>'failing_s')::float8);
      w.due_at := clock_timestamp() + make_interval(secs => (p_told->>'retry_s')::float8);
      w.slow := (p_told->>'slow')::boolean;
      IF w.after_seq = (p_told->>'before')::bigint
         AND w.wanted = coalesce(p_told->'wanted', w.wanted) THEN
        w.after_seq := (p_told->>'after')::bigint;
      END IF;
    END IF;
    IF v_why IS NOT NULL AND v_is_news AND w.disabled_at IS NULL THEN
      w.disabled_at := clock_timestamp();
      w.disabled_why := v_why;
      PERFORM callapi.tell_webhook(w);
    END IF;
  END IF;
  w.lease_until := clock_timestamp() + make_interval(secs => p_lease_s);
  UPDATE callapi.webhooks x
     SET attempts = w.attempts, test = w.test, failures = w.failures, failed_at = w.failed_at,
         failing_since = w.failing_since, due_at = w.due_at, slow = w.slow,
         after_seq = w.after_seq, disabled_at = w.disabled_at, disabled_why = w.disabled_why,
         lease_until = w.lease_until
   WHERE x.id = p_id;
  RETURN callapi.webhook_to_send(w);
END $f$;
