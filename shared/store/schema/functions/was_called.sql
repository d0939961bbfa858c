-- Whether an enterprise has called a number since a moment, by whatever field: its digits alone count.
-- Asterisk must have had the call, and somebody must have been rung: a call that failed makes no
-- number known. The newest transfer of a call is known of it, no earlier one.
CREATE OR REPLACE FUNCTION callapi.was_called(p_enterprise text, p_digits text, p_since timestamptz)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $f$
  SELECT EXISTS (
    SELECT 1 FROM callapi.calls k
     WHERE k.enterprise = p_enterprise AND ltrim(k.phone, '+') = p_digits AND k.kind = 'call'
       AND k.created_at > p_since AND k.state = 'executed'
       AND coalesce(k.reason, '') NOT IN ('failed', 'rejected'))
  OR EXISTS (
    SELECT 1 FROM callapi.calls k
     WHERE k.enterprise = p_enterprise AND k.code = p_digits
       AND k.created_at > p_since AND k.state = 'executed'
       AND coalesce(k.reason, '') NOT IN ('failed', 'rejected'))
  OR EXISTS (
    SELECT 1 FROM callapi.calls k
     WHERE k.enterprise = p_enterprise AND k.transferred_to = p_digits
       AND k.transferred_at > p_since AND coalesce(k.transfer_state, 'executed') = 'executed')
$f$;
