/*
 * test_token_corpus.c
 *		What the fuzzer has found worth keeping, run once more: whatever
 *		test/fuzz/fuzz_token.c demands holds for each file of its corpus.
 */
#include "unit.h"

#include "../fuzz/fuzz_token.c"
#include "corpus.h"

int
main(void)
{
	run_corpus("corpus_token");
	return unit_done();
}
