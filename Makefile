# Each target is a script that also runs without make.
.PHONY: serve setup test test-fast verify lint dashboards
serve:
	@scripts/serve.sh
setup:
	@scripts/setup.sh --dev
test:
	@scripts/test.sh
test-fast:
	@scripts/test_fast.sh
verify:
	@scripts/verify.sh
lint:
	@scripts/lint.sh
dashboards:
	@scripts/dashboards.sh
