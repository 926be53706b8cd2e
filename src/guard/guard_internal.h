/*
 * guard_internal.h
 *		What the files of guard/ share among themselves.
 */
#ifndef DG_GUARD_INTERNAL_H
#define DG_GUARD_INTERNAL_H

#include "fmgr.h"

#include "guard/guard.h"

/* guard_identity.c */

/* One column's equality, and the hash function that goes with it. */
typedef struct DgIdentity
{
	Oid			relid;			/* the table whose column it comes from */
	Oid			type;			/* no domain */
	Oid			collation;
	int16		len;
	bool		byval;
	FmgrInfo	equal;
	FmgrInfo	hash;			/* fn_oid is InvalidOid: the type cannot be
								 * hashed */
	bool		extended;		/* hash gives 64 bits */
} DgIdentity;

/* What counts in one guarded table, or the tenant table. */
typedef struct DgTableIdentity
{
	Oid			relid;			/* key */
	int			identity;		/* its number; DG_NO_IDENTITY: texts are
								 * compared */
} DgTableIdentity;

#define DG_NO_IDENTITY (-1)

/* The identities, and the tables that they were looked for in. */
typedef struct DgIdentities
{
	MemoryContext context;
	int			n;
	DgIdentity *list;
	int			general;		/* of tenants in all other tables */
	DgTableIdentity *tables;	/* by OID */
	int			ntables;
} DgIdentities;

extern uint64 dg_guard_tenant_generation(void);
extern uint64 dg_guard_identity_generation(void);
extern const DgIdentities *dg_guard_identities(void);
extern DgTableIdentity *dg_guard_identity_table(const DgIdentities *identities, Oid relid);

/* guard_tenant.c */
extern uint64 *dg_guard_tenant_hashes(const char *tenant, int *n);

/* guard_path.c */
extern ForeignKeyCacheInfo *dg_guard_foreign_key_named(Oid relid, const char *name, Oid root);

#endif							/* DG_GUARD_INTERNAL_H */
