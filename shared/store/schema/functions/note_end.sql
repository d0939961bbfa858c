-- Note what became of a transfer or a hang-up that was noted when it was let be sent: executed, or
-- not_executed. NULL: nobody knows. What is known once stays, and of a call its row says it: whoever has the
-- service's role alone cannot write another end.
CREATE OR REPLACE FUNCTION callapi.note_end(
  p_call uuid, p_action text, p_at timestamptz, p_outcome text)
RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $f$
  UPDATE callapi.audit SET outcome = p_outcome
   WHERE call_id = p_call AND action = p_action AND at = p_at
     AND action IN ('transfer', 'hang-up') AND outcome IS NULL
$f$;
