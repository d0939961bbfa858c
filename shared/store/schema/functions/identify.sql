-- Who asks, where no call is placed. One round trip: who has this secret, which extensions an operator
-- gave it, whether others share its PBX, with what its cursors are signed; and a token of the limit that
-- is asked for. As in callapi.claim_order, only a wrong secret costs a token of its address.
--
-- p_asked: {"address": text or null, "address_limit": {"count", "per_s"},
--           "limit": null or {"name", "count", "per_s"}, "sees_host": whether it matters who shares the PBX}.
-- Returns {"verdict": known, unauthorized, ambiguous or limited, and whatever of it is known: number,
-- name, sandbox, host, extensions, shares_host, cursor_key, tightest, remaining, retry_after_s}. Both are jsonb,
-- so that what is added changes no signature.
CREATE OR REPLACE FUNCTION callapi.identify(p_secret text, p_asked jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  e record; v record;
  v_address jsonb := p_asked->'address_limit';
  v_limit jsonb := nullif(p_asked->'limit', 'null');
  told jsonb;
BEGIN
  SELECT x.* INTO e FROM callapi.enterprise_of(p_secret) x;
  IF NOT FOUND THEN
    SELECT t.* INTO v FROM callapi.take_token('a:' || (p_asked->>'address'),
      (v_address->>'count')::integer, (v_address->>'per_s')::float8) t;
    IF v.wait_s > 0 THEN
      RETURN jsonb_build_object(
        'verdict', 'limited', 'tightest', 'address', 'retry_after_s', v.wait_s);
    END IF;
    RETURN jsonb_build_object('verdict', 'unauthorized');
  END IF;
  IF e.matches > 1 OR e.number = '' THEN RETURN jsonb_build_object('verdict', 'ambiguous'); END IF;

  told := jsonb_build_object(
    'number', e.number, 'name', e.name, 'sandbox', callapi.is_sandbox(e.host));
  IF v_limit IS NOT NULL THEN
    -- A token that a crash forgets harms nobody: no read waits for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT t.* INTO v FROM callapi.take_token((v_limit->>'name') || ':' || e.number,
      (v_limit->>'count')::integer, (v_limit->>'per_s')::float8) t;
    told := told || jsonb_build_object('tightest', v_limit->>'name', 'remaining', v.remaining);
    IF v.wait_s > 0 THEN
      RETURN told || jsonb_build_object('verdict', 'limited', 'retry_after_s', v.wait_s);
    END IF;
  END IF;
  RETURN told || jsonb_build_object(
    'verdict', 'known',
    'host', e.host,
    'extensions', (
      SELECT to_jsonb(r.extensions) FROM callapi.enterprise_rules r WHERE r.enterprise = e.number),
    'shares_host', CASE WHEN (p_asked->'sees_host')::boolean
                        THEN callapi.shares_host(e.number, e.host) END,
    'cursor_key', (SELECT k.key FROM callapi.cursor_key k));
END $f$;
