-- What became of a transfer, and until when the same again is its repeat. A transfer of the release
-- before has neither.
ALTER TABLE callapi.calls
  ADD COLUMN transfer_state text CHECK (transfer_state IN ('sending', 'executed', 'unknown')),
  ADD COLUMN transfer_until timestamptz;
