-- Take what one more ring costs: tokens, a place among the calls that are open at once, a token for
-- each destination that is new to the enterprise. Whoever is refused undoes what was taken.
--
-- p_opens: it begins a call, where a transfer goes on with p_call at another extension, p_rings.
-- p_limits: {"extension", "enterprise", "new_numbers": {"count", "per_s"}, "open_extension",
-- "open_enterprise": how many calls at once, "unseen_s": see below}; what is missing or null is off.
--
-- An open call counts while it is known to be there: its PBX was looked at by a tracker within
-- unseen_s, or it is itself no older than that. A PBX that is away locks nobody out.
--
-- Locks, in this order: the limits of the extension, of the enterprise, the enterprise's open calls,
-- its new numbers. The third is an advisory one, held to the end of the transaction: who comes second
-- counts, in a statement of its own, what the first has committed.
--
-- verdict: NULL, limited, too-many-open; `tightest` names the limit that refuses, or has least left.
CREATE OR REPLACE FUNCTION callapi.take_allowance(
  p_enterprise text, p_call uuid, p_rings text, p_calls text, p_opens boolean, p_digits integer,
  p_limits jsonb,
  OUT verdict text, OUT tightest text, OUT remaining integer, OUT wait_s float8)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  at_once_extension CONSTANT integer := p_limits ->> 'open_extension';
  at_once_enterprise CONSTANT integer := CASE WHEN p_opens THEN p_limits ->> 'open_enterprise' END;
  new_count CONSTANT integer := p_limits #>> '{new_numbers,count}';
  v record; n text; v_new integer := 0;
BEGIN
  SELECT t.* INTO v FROM callapi.take_tokens(
    p_enterprise, p_rings,
    (p_limits #>> '{extension,count}')::integer, (p_limits #>> '{extension,per_s}')::float8,
    (p_limits #>> '{enterprise,count}')::integer, (p_limits #>> '{enterprise,per_s}')::float8) t;
  tightest := v.tightest; remaining := v.remaining; wait_s := v.wait_s;
  IF wait_s > 0 THEN verdict := 'limited'; RETURN; END IF;

  IF at_once_extension IS NOT NULL OR at_once_enterprise IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('callapi.calls open ' || p_enterprise, 0));
    SELECT count(*) AS enterprise,
           count(*) FILTER (WHERE coalesce(k.transferred_to, k.code) = p_rings) AS extension INTO v
      FROM callapi.calls k LEFT JOIN callapi.trackers t ON t.host = k.host
     WHERE k.enterprise = p_enterprise AND k.ended_at IS NULL AND k.call_id <> p_call
       AND greatest(k.created_at, t.reached_at)
             > clock_timestamp() - make_interval(secs => (p_limits ->> 'unseen_s')::float8);
    IF v.extension >= at_once_extension OR v.enterprise >= at_once_enterprise THEN
      verdict := 'too-many-open'; remaining := NULL;
      tightest := CASE WHEN v.extension >= at_once_extension THEN 'extension' ELSE 'enterprise' END;
      RETURN;
    END IF;
  END IF;

  IF new_count IS NULL THEN RETURN; END IF;
  FOREACH n IN ARRAY callapi.destinations(p_rings, p_calls, (
      SELECT r.extensions FROM callapi.enterprise_rules r WHERE r.enterprise = p_enterprise), p_digits)
  LOOP
    -- A call of more new numbers than may be called at once would never be admitted.
    CONTINUE WHEN v_new = new_count OR ltrim(n, '+') = ltrim(p_calls, '+') AND v_new > 0;
    CONTINUE WHEN callapi.was_called(
      p_enterprise, ltrim(n, '+'), clock_timestamp() - interval '30 days');
    v_new := v_new + 1;
    SELECT t.* INTO v FROM callapi.take_token(
      'n:' || p_enterprise, new_count, (p_limits #>> '{new_numbers,per_s}')::float8) t;
    wait_s := v.wait_s;
    IF wait_s > 0 THEN
      verdict := 'limited'; tightest := 'new_numbers'; remaining := 0; RETURN;
    END IF;
    IF remaining IS NULL OR v.remaining < remaining THEN
      tightest := 'new_numbers'; remaining := v.remaining;
    END IF;
  END LOOP;
END $f$;
