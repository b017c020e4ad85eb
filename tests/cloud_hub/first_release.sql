INSERT INTO gateways (id, first_seen_s, last_seen_s, online, agent_version, runtime, want_seq, rss_mb, outbox_bytes, counters) VALUES ('gw-1', 1.5, 2.5, true, '0.1', 'litert', 1, 61.5, 7, '{"frames":1}');
INSERT INTO gateway_slots (gateway_id, slot, phase) VALUES ('gw-1', 's', 'active');
INSERT INTO machines VALUES ('P-101', 1.0);
INSERT INTO points (gateway_id, machine_id, point, verdict, windows, warmup_left, current) VALUES ('gw-1', 'P-101', 'de', 'ok', 5, 0, true);
INSERT INTO health (gateway_id, boot_id, time_s, rss_mb, cpu_s, windows, window_us, outbox_bytes) VALUES ('gw-1', '00000000000000aa', 1.0, 1.0, 1.0, 1, 1.0, 1);
INSERT INTO trends (gateway_id, machine_id, point, time_s, span_s, windows, flagged, rms, verdict) VALUES ('gw-1', 'P-101', 'de', 1.0, 10.0, 20, 0, '[1.0,2.0]', 'ok');
INSERT INTO trend_batches VALUES ('gw-1', '00000000000000aa', 1, 1.0);
INSERT INTO bundles VALUES ('abababababababababababababababababababababababababababababababab', 's', '1', 'spectral', 's/1.mwb', 5, 1.0, '{}');
INSERT INTO wants (gateway, seq, issued_s, expires_s) VALUES ('gw-1', 1, 1.0, 2.0);
INSERT INTO want_bundles (gateway, seq, slot, sha256) VALUES ('gw-1', 1, 's', 'abababababababababababababababababababababababababababababababab');
INSERT INTO acks (gateway_id, seq, slot, phase, time_s, received_s) VALUES ('gw-1', 1, 's', 'seen', 1.0, 1.0);
INSERT INTO alarms (gateway_id, alarm, machine_id, point, slot, bundle_sha256, bundle_version, verdict, status, raised_s, updated_s, score, peak, summary, newest_key, diagnosis_key) VALUES ('gw-1', 'a1', 'P-101', 'de', 's', 'abababababababababababababababababababababababababababababababab', '1', 'alarm', 'raised', 1.0, 1.0, 1.5, 1.5, 'text', 'k', '');
INSERT INTO alarm_events (gateway_id, boot_id, seq, alarm, kind, verdict, time_s, received_s, score, peak) VALUES ('gw-1', '00000000000000aa', 1, 'a1', 'raised', 'alarm', 1.0, 1.0, 1.5, 1.5);
INSERT INTO alarm_evidence (event_id, bundle_sha256, rate_hz, axes, units, samples, shift, raw_score, raw_limit, "window") VALUES (1, 'abababababababababababababababababababababababababababababababab', 1000.0, '["x"]', 'm/s2', 1, :BYTES:, 1.0, 1.0, :BYTES:);
INSERT INTO captures (id, gateway_id, machine_id, point, rate_hz, axes, units, total, received, samples, first_s) VALUES ('c', 'gw-1', 'P-101', 'de', 1000.0, '["x"]', 'm/s2', 1, 1, 1, 1.0);
INSERT INTO capture_chunks (capture_id, "index", time_s, gap, samples) VALUES ('c', 0, 1.0, false, 1)
