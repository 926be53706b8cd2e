/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  The few macros the unit tests of the pure C libraries are written with.
 *
 * A test program includes this file once, defines its tests and runs them:
 *
 *		UNIT_TEST(adds_up)
 *		{
 *			CHECK_INT_EQ(1 + 1, 2);
 *		}
 *
 *		int
 *		main(void)
 *		{
 *			RUN(adds_up);
 *			return unit_done();
 *		}
 *
 * Output is TAP: one "ok" or "not ok" line per test, a "#" line for each
 * check that failed, and the plan at the end.  A failed check does not end
 * its test.  A test that makes no check at all counts as failed.  The exit
 * status of unit_done() is 0 only if everything passed.
 *
 * test/unit/unit.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DG_UNIT_H
#define DG_UNIT_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define UNIT_MAYBE_UNUSED __attribute__((unused))
#else
#define UNIT_MAYBE_UNUSED
#endif

/* After this many failed checks a test goes on in silence. */
#define UNIT_MAX_REPORTS 20

static int	unit_run = 0;		/* tests run */
static int	unit_failed = 0;	/* tests that failed */
static long unit_checks = 0;	/* checks made by the current test */
static long unit_bad_checks = 0;	/* of those, failed */

#define UNIT_TEST(name) static void name(void)
#define RUN(name) unit_run_test(#name, name)
#define SKIP(name, why) unit_skip_test(#name, why)

#define CHECK(cond) \
	unit_check((cond) ? true : false, __FILE__, __LINE__, #cond)
#define CHECK_MSG(cond, ...) \
	do { \
		bool		unit_ok_ = (cond) ? true : false; \
		unit_check(unit_ok_, __FILE__, __LINE__, #cond); \
		if (!unit_ok_ && unit_bad_checks <= UNIT_MAX_REPORTS) \
		{ \
			printf("#     "); \
			printf(__VA_ARGS__); \
			printf("\n"); \
		} \
	} while (0)
#define CHECK_INT_EQ(got, want) \
	unit_check_int((int64_t) (got), (int64_t) (want), __FILE__, __LINE__, #got)
#define CHECK_STR_EQ(got, want) \
	unit_check_str((got), (want), __FILE__, __LINE__, #got)
#define CHECK_MEM_EQ(got, want, len) \
	unit_check(memcmp((got), (want), (len)) == 0, __FILE__, __LINE__, \
			   #got " holds the same bytes as " #want)

/*
 * Count one check and report it if it failed.
 */
static UNIT_MAYBE_UNUSED void
unit_check(bool ok, const char *file, int line, const char *text)
{
	unit_checks++;
	if (ok)
		return;
	unit_bad_checks++;
	if (unit_bad_checks <= UNIT_MAX_REPORTS)
		printf("# %s:%d: failed: %s\n", file, line, text);
}

static UNIT_MAYBE_UNUSED void
unit_check_int(int64_t got, int64_t want, const char *file, int line,
			   const char *text)
{
	unit_check(got == want, file, line, text);
	if (got != want && unit_bad_checks <= UNIT_MAX_REPORTS)
		printf("#     got %" PRId64 ", expected %" PRId64 "\n", got, want);
}

static UNIT_MAYBE_UNUSED void
unit_check_str(const char *got, const char *want, const char *file, int line,
			   const char *text)
{
	bool		same;

	same = (got == NULL || want == NULL) ? got == want : strcmp(got, want) == 0;
	unit_check(same, file, line, text);
	if (!same && unit_bad_checks <= UNIT_MAX_REPORTS)
		printf("#     got \"%s\", expected \"%s\"\n",
			   got ? got : "(null)", want ? want : "(null)");
}

/*
 * Run one test and print its TAP line.
 */
static UNIT_MAYBE_UNUSED void
unit_run_test(const char *name, void (*test) (void))
{
	unit_checks = 0;
	unit_bad_checks = 0;
	test();
	unit_run++;
	if (unit_checks == 0)
		printf("# %s made no check\n", name);
	if (unit_bad_checks > 0 || unit_checks == 0)
	{
		unit_failed++;
		printf("not ok %d - %s\n", unit_run, name);
	}
	else
		printf("ok %d - %s\n", unit_run, name);
	fflush(stdout);
}

/*
 * Print the line of a test that cannot run here.
 */
static UNIT_MAYBE_UNUSED void
unit_skip_test(const char *name, const char *why)
{
	unit_run++;
	printf("ok %d - %s # SKIP %s\n", unit_run, name, why);
	fflush(stdout);
}

/*
 * Print the plan; the result is main()'s.
 */
static UNIT_MAYBE_UNUSED int
unit_done(void)
{
	printf("1..%d\n", unit_run);
	if (unit_failed > 0)
		printf("# %d of %d tests failed\n", unit_failed, unit_run);
	fflush(stdout);
	return (unit_failed == 0 && unit_run > 0) ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif							/* DG_UNIT_H */
