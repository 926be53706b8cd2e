/*
 * varint.h
 *		Numbers in as few bytes as they need: seven bits to a byte, the lowest
 *		first, and the eighth set where more follow. Signed numbers are folded,
 *		so that small ones take one byte whatever their sign.
 */
#ifndef DG_VARINT_H
#define DG_VARINT_H

#include "postgres.h"

/* bytes that any number takes at most */
#define DG_VARINT_MAX 10

static inline uint64
dg_varint_fold(int64 number)
{
	return number < 0 ? -2 * (uint64) number - 1 : 2 * (uint64) number;
}

static inline int64
dg_varint_unfold(uint64 folded)
{
	return (folded & 1) ? -(int64) (folded >> 1) - 1 : (int64) (folded >> 1);
}

/*
 * Writes a number; returns where the next one goes.
 */
static inline uint8 *
dg_varint_put(uint8 *p, uint64 number)
{
	for (; number > 0x7f; number >>= 7)
		*p++ = (uint8) (number | 0x80);
	*p++ = (uint8) number;
	return p;
}

/*
 * Reads a number and moves *p behind it; false if there is none before end.
 */
static inline bool
dg_varint_get(const uint8 **p, const uint8 *end, uint64 *number)
{
	*number = 0;
	for (int shift = 0; *p < end && shift < 64; shift += 7)
	{
		*number |= (uint64) (**p & 0x7f) << shift;
		if (*(*p)++ <= 0x7f)
			return true;
	}
	return false;
}

#endif							/* DG_VARINT_H */
