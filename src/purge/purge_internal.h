/*
 * purge_internal.h
 *		What the files of purge/ share among themselves.
 */
#ifndef DG_PURGE_INTERNAL_H
#define DG_PURGE_INTERNAL_H

#include "common/cryptohash.h"
#include "common/own_tables.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "purge/purge.h"
#include "ledger/ledger.h"
#include "token/token.h"

/* purge_common.c */
extern void dg_purge_require_extension_owner(const char *act);
extern text * dg_purge_required_text(FunctionCallInfo fcinfo, int arg, const char *name);
extern int64 dg_purge_part_rows_left(const DgOwnScan *scan);
extern char *dg_purge_audience_text(void);

/* purge_refusal.c */

typedef struct DgRefusal
{
	int			sqlstate;
	const char *reason;			/* stable, for programs: "tenant_on_hold" */
	const char *message;
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
	int64		request;		/* 0: none */
	const char *authority;		/* or NULL */
} DgRefusal;

extern bool dg_purge_refusal_set(DgRefusal *refusal, int sqlstate, const char *reason, const char *hint,
								 const char *fmt,...) pg_attribute_printf(5, 6);
extern bool dg_purge_refusal_detail(DgRefusal *refusal, const char *fmt,...) pg_attribute_printf(2, 3);
extern bool dg_purge_refusal_of_token(DgRefusal *refusal, DgTokenStatus status, const DgTokenDetail *detail);
pg_noreturn extern void dg_purge_refuse(const DgRefusal *refusal, const char *act);

/* purge_authority.c */

typedef struct DgAuthority
{
	char	   *name;
	char	   *public_key;		/* PEM */
	char	   *fingerprint;	/* hexadecimal */
	bool		retired;
} DgAuthority;

extern DgAuthority *dg_purge_authority_find(const char *name, DgRefusal *refusal);
extern int	dg_purge_authorities_active(void);
extern void dg_purge_lock_authorities(LOCKMODE mode);
extern int	dg_purge_approvals_required(void);
extern bool dg_purge_authorities_ever(void);
extern bool dg_purge_authorities_in_file(void);
extern int	dg_purge_approvals_remembered(void);
extern int	dg_purge_approvals_required_for_change(void);

/* purge_enrol.c */
extern void dg_purge_approvals_raise(void);

/* purge_approval.c */

/* A token that was found genuine, for this database, and valid now. */
typedef struct DgApproval
{
	DgTokenClaims claims;
	char	   *fingerprint;	/* of the authority's key */
	char	   *tenant;			/* the claims of these names, in the server's
								 * encoding; */
	char	   *tenant_name;	/* the first two NULL unless it names one
								 * tenant, */
	char	   *relations;		/* and this if it does */
	char	   *deletions;		/* empty: all; as are keys; NULL as the first */
	char	   *keys;
	char	   *reason;
} DgApproval;

/* What is signed; dg_purge_authorise() names claims() instead. */
#define DG_HINT_CLAIMS "Have the authority sign the claims that request_purge() returned, as a JWT in compact form."

typedef bool (*DgClaimsMatch) (const DgTokenClaims *claims, void *arg);

extern bool dg_purge_approval_verify(const char *token, int len, DgApproval *approval, DgRefusal *refusal);
extern bool dg_purge_approval_unused(const DgApproval *approval, DgRefusal *refusal);
extern bool dg_purge_act_is_purge(DgTokenAct act);
extern bool dg_purge_approvals_verify(ArrayType *tokens, DgTokenAct act, List **approvals, DgRefusal *refusal);
extern void dg_purge_approvals_use(List *approvals, int64 ledger_id);
extern int64 dg_purge_approvals_record(List *approvals, const char *event, const char *details);
extern bool dg_purge_approvals_suffice(List *approvals, int needed, DgRefusal *refusal);
extern List *dg_purge_authorise(DgTokenAct act, ArrayType *tokens, DgClaimsMatch match, void *arg,
								const char *what, const char *object);

/* purge_tenant.c */
extern char *dg_purge_tenant_name(const char *tenant, DgRefusal *refusal);
extern bool dg_purge_tenant_is_live(const char *tenant);
extern bool dg_purge_tenant_is_known(const char *tenant);
extern char *dg_purge_tenant_argument(FunctionCallInfo fcinfo, int arg);
extern char *dg_purge_tenant_claim(const char *tenant);

/* purge_request.c */

typedef struct DgRequest
{
	int64		id;
	char	   *tenant;			/* NULL, as is the name, unless it is for one
								 * tenant */
	char	   *tenant_name;
	bool		by_age;			/* of all tenants; otherwise, without one:
								 * rows that have none */
	int64		tenants;		/* if by age: how many it covers */
	char	   *reason;
	Datum		relations;		/* regclass[] */
	bool		all_relations;
	TimestampTz deleted_before;
	Datum		deletions;		/* bigint[], or 0: all */
	Jsonb	   *keys;			/* some rows only; or NULL */
	TimestampTz requested_at;
	int64		rows;
	uint8		digest[DG_DIGEST_SIZE];
	char	   *state;
} DgRequest;

extern DgRequest *dg_purge_request_find(int64 id);
extern void dg_purge_request_forget_keys(DgOwnScan *scan);
extern void dg_purge_request_close(int64 id, const char *state);
extern DgTokenAct dg_purge_request_act(const DgRequest *request);
extern char *dg_purge_request_relations(const DgRequest *request);
extern char *dg_purge_request_deleted_before(const DgRequest *request);
extern char *dg_purge_request_deletions(const DgRequest *request);

/* purge_plan.c */

typedef struct DgPlanPart
{
	int64		deletion;
	int32		part;
	Oid			relation;		/* may be gone */
	Oid			bin_table;
	char	   *relation_name;
	int64		rows;			/* that the plan covers, */
	int64		left;			/* of so many that are in the bin */
	int64	   *chosen;			/* if not all, their addresses, in order, */
	int32	   *numbers;		/* and numbers in the deletion, in order */
	TimestampTz deleted_at;
	TimestampTz due_at;
	char	   *tenant;			/* or NULL */
	int			tenant_no;		/* 1 .. tenants of the plan */
	char	   *tenant_name;	/* of a part of the tenant table, or NULL */
	bool		blank;			/* their key is the empty string */
	int64		removed;		/* rows that a purge found and removed */
} DgPlanPart;

typedef struct DgPlan
{
	int			nparts;
	DgPlanPart *parts;			/* by deletion and part */
	int64		rows;
	int			tenants;		/* 1 unless it is by age */
	TimestampTz due_at;			/* when all of it is due */
	int64		left_out;		/* rows that a request by age does not cover */
	List	   *chosen;			/* of DgChosenTable: what rows were asked for */
	uint8		digest[DG_DIGEST_SIZE];
} DgPlan;

extern DgPlan *dg_purge_plan_make(const DgRequest *request);
extern void dg_purge_plan_store(const DgPlan *plan, int64 request);
extern int	dg_purge_plan_compare_parts(const void *a, const void *b);

/* purge_rows.c */
extern Jsonb *dg_purge_rows_argument(Jsonb *keys);
extern char *dg_purge_rows_text(const DgRequest *request);
extern void dg_purge_rows_choose(DgPlan *plan);
extern bool dg_purge_rows_has(const DgPlanPart *part, TupleTableSlot *slot);
extern void dg_purge_rows_require_found(const DgPlan *plan);

typedef void (*DgPlanRow) (TupleTableSlot *slot, void *arg);
extern void dg_purge_rows_each(const DgPlan *plan, Oid relation, DgPlanRow action, void *arg);

/* purge_rows_referring.c */
extern void dg_purge_rows_require_referring(const DgPlan *plan);

/* purge_review.c */
extern char *dg_purge_plan_difference(const DgPlan *plan, const DgRequest *request);
extern void dg_purge_plan_show(const DgRequest *request, const DgPlan *plan);

/* purge_hold.c */
extern int64 dg_purge_hold_active(const char *tenant, TimestampTz *held_at);

/* purge_check.c */
extern bool dg_purge_check(const DgApproval *approval, DgRequest **request, DgPlan **plan,
						   DgRefusal *refusal);

/* purge_link.c */

typedef struct DgPurgeLinks DgPurgeLinks;

extern DgPurgeLinks *dg_purge_links_begin(const DgPlan *plan);
extern void dg_purge_links_open(DgPurgeLinks *links, const DgPlanPart *part);
extern void dg_purge_links_row(DgPurgeLinks *links, TupleTableSlot *slot);
extern void dg_purge_links_end(DgPurgeLinks *links);

/* purge_forget.c */
extern void dg_purge_forget(const DgRequest *request, const DgPlan *plan, const uint8 *tenant_digest);

/* purge_digest.c */

#define DG_KEY_DIGEST_SIZE	16

/* How the keys of one table's rows are digested. */
typedef struct DgPurgeKey
{
	const char *relation_name;
	const uint8 *salt;			/* of the purge */
	int			nattrs;
	AttrNumber *attnums;		/* of the key's columns */
	FmgrInfo   *output;			/* by attribute number - 1 */
	pg_cryptohash_ctx *hash;	/* or NULL */
	StringInfo	buf;
} DgPurgeKey;

extern FmgrInfo *dg_purge_output_functions(TupleDesc desc, int skip);
extern void dg_purge_put_value(StringInfo buf, TupleTableSlot *slot, AttrNumber attnum, FmgrInfo *output);
extern void dg_purge_key_digest(DgPurgeKey *key, TupleTableSlot *slot, uint8 *digest);

typedef struct DgPurgeDigest DgPurgeDigest;

extern DgPurgeDigest *dg_purge_digest_begin(int64 purge, int32 table_no, const DgPlanPart *part, int tenants,
											const uint8 *salt);
extern void dg_purge_digest_row(DgPurgeDigest *digest, const DgPlanPart *part, TupleTableSlot *slot);
extern void dg_purge_digest_end(DgPurgeDigest *digest, int64 *rows, uint8 *sum);

/* purge_log.c */
extern void dg_purge_hide_tokens_in_activity(void);

/* purge_scrub_page.c */
extern bool dg_purge_scrub_page(Relation rel, BlockNumber block, BufferAccessStrategy strategy,
								TransactionId oldest, int64 *kept);

/* purge_scrub_command.c */
extern char *dg_purge_scrub_run(const char *sql);
extern char *dg_purge_scrub_try(void (*work) (const void *arg), const void *arg);

/* purge_scrub_index.c */
extern void dg_purge_scrub_index_init(void);
extern void dg_purge_scrub_clear(void);
extern char *dg_purge_scrub_indexes(Oid relid);
extern char *dg_purge_scrub_skipped_indexes(Oid relid);

/* purge_evidence.c */
extern Datum dg_purge_certificate_text(int64 purge);

#endif							/* DG_PURGE_INTERNAL_H */
