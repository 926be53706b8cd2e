/*
 * tables.h
 *		Column numbers of the extension's own tables, for where they are read and
 *		written as tuples. test/check/columns.sh compares them with the install script.
 */
#ifndef DG_TABLES_H
#define DG_TABLES_H

/* deletion_guard.tenant_table */
#define Anum_tenant_table_singleton			1
#define Anum_tenant_table_relation			2
#define Anum_tenant_table_key_column		3
#define Anum_tenant_table_name_column		4
#define Anum_tenant_table_contact_column	5
#define Natts_tenant_table					5

/* deletion_guard.guard */
#define Anum_guard_relation			1
#define Anum_guard_tenant_column	2
#define Anum_guard_tenant_path		3
#define Anum_guard_guarded_at		4
#define Anum_guard_guarded_by		5
#define Anum_guard_detached_from	6
#define Anum_guard_tenant			7
#define Natts_guard					7

/* deletion_guard.guard_step */
#define Anum_guard_step_relation		1
#define Anum_guard_step_step			2
#define Anum_guard_step_type_value		3
#define Anum_guard_step_source			4
#define Anum_guard_step_target			5
#define Anum_guard_step_foreign_key		6
#define Anum_guard_step_type_column		7
#define Anum_guard_step_columns			8
#define Anum_guard_step_key_columns		9
#define Natts_guard_step				9

/* deletion_guard.guarded_schema */
#define Anum_guarded_schema_schema_name		1
#define Anum_guarded_schema_tenant_column	2
#define Anum_guarded_schema_tenant			3
#define Natts_guarded_schema				3

/* deletion_guard.bin */
#define Anum_registry_bin_id		1
#define Anum_registry_relation		2
#define Anum_registry_relation_name	3
#define Anum_registry_bin_table		4
#define Anum_registry_shape			5
#define Anum_registry_created_at	6
#define Anum_registry_dropped_column 7
#define Natts_registry				7

/* deletion_guard.deletion_part */
#define Anum_deletion_part_deletion_id		1
#define Anum_deletion_part_part				2
#define Anum_deletion_part_bin_id			3
#define Anum_deletion_part_tenant			4
#define Anum_deletion_part_tenant_hash		5
#define Anum_deletion_part_tenant_name		6
#define Anum_deletion_part_contact			7
#define Anum_deletion_part_rows				8
#define Anum_deletion_part_restored			9
#define Anum_deletion_part_purged			10
#define Anum_deletion_part_filenode			11
#define Anum_deletion_part_blocks			12
#define Anum_deletion_part_deleted_at		13
#define Anum_deletion_part_session_role		14
#define Anum_deletion_part_effective_role	15
#define Anum_deletion_part_application_name	16
#define Anum_deletion_part_client_addr		17
#define Anum_deletion_part_actor			18
#define Anum_deletion_part_reason			19
#define Anum_deletion_part_statement		20
#define Anum_deletion_part_xid				21
#define Anum_deletion_part_purge_not_before	22
#define Natts_deletion_part					22

/* deletion_guard.deletion_link */
#define Anum_deletion_link_deletion_id		1
#define Anum_deletion_link_relation			2
#define Anum_deletion_link_key_columns		3
#define Anum_deletion_link_key_values		4
#define Anum_deletion_link_columns			5
#define Anum_deletion_link_before			6
#define Anum_deletion_link_after			7
#define Anum_deletion_link_restored			8
#define Anum_deletion_link_waiting_since	9
#define Anum_deletion_link_relation_name	10
#define Natts_deletion_link					10

/* deletion_guard.tenant_rename */
#define Anum_tenant_rename_rename_id	1
#define Anum_tenant_rename_first_id		2
#define Anum_tenant_rename_old_key		3
#define Anum_tenant_rename_new_key		4
#define Anum_tenant_rename_renamed_at	5
#define Natts_tenant_rename				5

/* deletion_guard.dropped_table */
#define Anum_dropped_table_dropped_id	1
#define Anum_dropped_table_deletion_id	2
#define Anum_dropped_table_relation_name	3
#define Anum_dropped_table_partition_of	4
#define Anum_dropped_table_dropped_at	5
#define Anum_dropped_table_dropped_by	6
#define Anum_dropped_table_rows	7
#define Anum_dropped_table_definition	8
#define Anum_dropped_table_foreign_keys	9
#define Natts_dropped_table	9

/* deletion_guard.folded_deletion */
#define Anum_folded_deletion_day		1
#define Anum_folded_deletion_tenant		2
#define Anum_folded_deletion_deletions	3
#define Anum_folded_deletion_rows		4
#define Anum_folded_deletion_restored	5
#define Anum_folded_deletion_purged		6
#define Natts_folded_deletion			6

/* deletion_guard.tenant_wipe */
#define Anum_tenant_wipe_deletion_id	1
#define Anum_tenant_wipe_wiped_at		2
#define Anum_tenant_wipe_rows			3
#define Natts_tenant_wipe				3

/* deletion_guard.authority */
#define Anum_authority_name			1
#define Anum_authority_algorithm	2
#define Anum_authority_public_key	3
#define Anum_authority_fingerprint	4
#define Anum_authority_enrolled_at	5
#define Anum_authority_enrolled_by	6
#define Anum_authority_retired_at	7
#define Anum_authority_retired_by	8
#define Anum_authority_ledger_id	9
#define Natts_authority				9

/* deletion_guard.used_token */
#define Anum_used_token_authority	1
#define Anum_used_token_jti			2
#define Anum_used_token_act			3
#define Anum_used_token_used_at		4
#define Anum_used_token_expires_at	5
#define Anum_used_token_ledger_id	6
#define Natts_used_token			6

/* deletion_guard.approval_policy */
#define Anum_approval_policy_singleton	1
#define Anum_approval_policy_approvals	2
#define Natts_approval_policy			2

/* deletion_guard.hold */
#define Anum_hold_hold_id		1
#define Anum_hold_tenant		2
#define Anum_hold_reason		3
#define Anum_hold_held_at		4
#define Anum_hold_held_by		5
#define Anum_hold_released_at	6
#define Anum_hold_released_by	7
#define Natts_hold				7

/* deletion_guard.purge_request_record */
#define Anum_purge_request_record_request_id		1
#define Anum_purge_request_record_tenant			2
#define Anum_purge_request_record_tenant_name		3
#define Anum_purge_request_record_reason			4
#define Anum_purge_request_record_relations			5
#define Anum_purge_request_record_deleted_before	6
#define Anum_purge_request_record_requested_at		7
#define Anum_purge_request_record_requested_by		8
#define Anum_purge_request_record_rows				9
#define Anum_purge_request_record_digest			10
#define Anum_purge_request_record_state				11
#define Anum_purge_request_record_closed_at			12
#define Anum_purge_request_record_closed_by			13
#define Anum_purge_request_record_tenants			14
#define Anum_purge_request_record_deletion_ids		15
#define Anum_purge_request_record_keys				16
#define Natts_purge_request_record					16

/* deletion_guard.purge_request_part */
#define Anum_purge_request_part_request_id		1
#define Anum_purge_request_part_deletion_id		2
#define Anum_purge_request_part_part			3
#define Anum_purge_request_part_relation_name	4
#define Anum_purge_request_part_rows			5
#define Natts_purge_request_part				5

/* deletion_guard.purge_record */
#define Anum_purge_record_purge_id				1
#define Anum_purge_record_request_id			2
#define Anum_purge_record_purged_at				3
#define Anum_purge_record_purged_by				4
#define Anum_purge_record_state					5
#define Anum_purge_record_rows					6
#define Anum_purge_record_salt					7
#define Anum_purge_record_tenant_digest			8
#define Anum_purge_record_certificate			9
#define Anum_purge_record_ledger_id				10
#define Anum_purge_record_annulled_at			11
#define Anum_purge_record_annulled_by			12
#define Anum_purge_record_annulled_ledger_id	13
#define Natts_purge_record						13

/* deletion_guard.purge_table */
#define Anum_purge_table_purge_id		1
#define Anum_purge_table_table_no		2
#define Anum_purge_table_relation_name	3
#define Anum_purge_table_key_columns	4
#define Anum_purge_table_rows			5
#define Anum_purge_table_digest			6
#define Natts_purge_table				6

/* deletion_guard.purged_key */
#define Anum_purged_key_purge_id		1
#define Anum_purged_key_table_no		2
#define Anum_purged_key_chunk			3
#define Anum_purged_key_digests			4
#define Anum_purged_key_tenant_digest	5
#define Natts_purged_key				5

/* deletion_guard.refusal */
#define Anum_refusal_act			1
#define Anum_refusal_reason			2
#define Anum_refusal_request_id		3
#define Anum_refusal_authority		4
#define Anum_refusal_first_at		5
#define Anum_refusal_last_at		6
#define Anum_refusal_last_by		7
#define Anum_refusal_count			8
#define Anum_refusal_recorded_at	9
#define Natts_refusal				9

/* deletion_guard.rehydration_record */
#define Anum_rehydration_record_run			1
#define Anum_rehydration_record_tenant		2
#define Anum_rehydration_record_archive		3
#define Anum_rehydration_record_rows		4
#define Anum_rehydration_record_finished_at	5
#define Anum_rehydration_record_problem		6
#define Anum_rehydration_record_relations	7
#define Natts_rehydration_record			7

/* deletion_guard.drill_result */
#define Anum_drill_result_drill_id		1
#define Anum_drill_result_archive		2
#define Anum_drill_result_drilled_at	3
#define Anum_drill_result_tenant		4
#define Anum_drill_result_rows			5
#define Anum_drill_result_seconds		6
#define Anum_drill_result_matches		7
#define Anum_drill_result_problem		8
#define Natts_drill_result				8

/* deletion_guard.ledger */
#define Anum_ledger_id			1
#define Anum_ledger_at			2
#define Anum_ledger_event		3
#define Anum_ledger_role		4
#define Anum_ledger_details		5
#define Anum_ledger_prev_hash	6
#define Anum_ledger_hash		7
#define Natts_ledger			7

/* deletion_guard.installation */
#define Anum_installation_singleton		1
#define Anum_installation_live_since	2
#define Natts_installation				2

#endif							/* DG_TABLES_H */
