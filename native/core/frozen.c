/* What exports of this form rely on: where the fields of each structure lie. A host may link an
 * export of this version or of the two minor versions before it with this runtime, so nothing here
 * may change but by a new form (GF_MODEL_FORM), which the runtime then tells from the old ones. */
#include <stddef.h>

#include "graphflow/model.h"

#if UINTPTR_MAX == UINT64_MAX

#define AT(structure, field, place)                                                                \
    _Static_assert(offsetof(struct structure, field) == (place), #structure "." #field)
#define SIZE(structure, bytes) _Static_assert(sizeof(struct structure) == (bytes), #structure)

_Static_assert(GF_MODEL_FORM == 1 && GF_ABI_VERSION == 3, "a new form has to be listed here");

AT(gf_frame, table, 0);
AT(gf_frame, pointers, 8);
AT(gf_frame, values, 16);
AT(gf_frame, status, 24);
AT(gf_frame, profile, 28);
AT(gf_frame, site, 32);
AT(gf_frame, launch, 36);
AT(gf_frame, fail_values, 40);
AT(gf_frame, runtime, 56);
AT(gf_frame, prepared, 64);
AT(gf_frame, reserved, 68);
SIZE(gf_frame, 72);

AT(gf_table, abi_version, 0);
AT(gf_table, reserved, 4);
AT(gf_table, parallel_for, 8);
AT(gf_table, fail, 16);
AT(gf_table, host_call, 24);
AT(gf_table, poll, 32);
AT(gf_table, launch_begin, 40);
AT(gf_table, launch_end, 48);
AT(gf_table, grow, 56);
AT(gf_table, bind, 64);
AT(gf_table, reserved_functions, 72);
SIZE(gf_table, 136);

AT(gf_shape, item_bytes, 0);
AT(gf_shape, rank, 4);
AT(gf_shape, dims, 8);
AT(gf_shape, binds, 16);
SIZE(gf_shape, 24);

AT(gf_feed_spec, pointer, 0);
AT(gf_feed_spec, shape, 8);
SIZE(gf_feed_spec, 32);

AT(gf_value_bind, symbol, 0);
AT(gf_value_bind, feed, 4);
AT(gf_value_bind, element, 8);
SIZE(gf_value_bind, 16);

AT(gf_constant_spec, pointer, 0);
AT(gf_constant_spec, data, 8);
SIZE(gf_constant_spec, 16);

AT(gf_state_spec, slot, 0);
AT(gf_state_spec, pointer_in, 4);
AT(gf_state_spec, pointer_out, 8);
AT(gf_state_spec, in_place, 12);
AT(gf_state_spec, shape, 16);
SIZE(gf_state_spec, 40);

AT(gf_output_spec, pointer, 0);
AT(gf_output_spec, source, 4);
AT(gf_output_spec, index, 8);
AT(gf_output_spec, shape, 16);
AT(gf_output_spec, late, 40);
SIZE(gf_output_spec, 48);

AT(gf_buffer_spec, pointer, 0);
AT(gf_buffer_spec, alias_of, 4);
AT(gf_buffer_spec, bytes, 8);
AT(gf_buffer_spec, first, 16);
AT(gf_buffer_spec, last, 20);
AT(gf_buffer_spec, offset, 24);
SIZE(gf_buffer_spec, 32);

AT(gf_kept_spec, pointer, 0);
AT(gf_kept_spec, bytes, 8);
SIZE(gf_kept_spec, 16);

AT(gf_late_spec, pointer, 0);
AT(gf_late_spec, bytes, 8);
SIZE(gf_late_spec, 16);

AT(gf_stack_spec, pointer, 0);
AT(gf_stack_spec, row_bytes, 8);
SIZE(gf_stack_spec, 16);

AT(gf_check_spec, a, 0);
AT(gf_check_spec, b, 8);
AT(gf_check_spec, message, 16);
SIZE(gf_check_spec, 24);

AT(gf_description, symbol_count, 0);
AT(gf_description, late_count, 4);
AT(gf_description, value_count, 8);
AT(gf_description, moment_count, 12);
AT(gf_description, feed_count, 16);
AT(gf_description, value_bind_count, 20);
AT(gf_description, constant_count, 24);
AT(gf_description, state_count, 28);
AT(gf_description, output_count, 32);
AT(gf_description, buffer_count, 36);
AT(gf_description, late_buffer_count, 40);
AT(gf_description, stack_count, 44);
AT(gf_description, row_count, 48);
AT(gf_description, kept_count, 52);
AT(gf_description, source_count, 56);
AT(gf_description, check_count, 60);
AT(gf_description, feeds, 64);
AT(gf_description, value_binds, 72);
AT(gf_description, constants, 80);
AT(gf_description, states, 88);
AT(gf_description, outputs, 96);
AT(gf_description, buffers, 104);
AT(gf_description, late, 112);
AT(gf_description, stacks, 120);
AT(gf_description, rows, 128);
AT(gf_description, kept, 136);
AT(gf_description, sources, 144);
AT(gf_description, checks, 152);
AT(gf_description, outside_bytes, 160);
AT(gf_description, budget, 168);
SIZE(gf_description, 176);

AT(gf_tensor_spec, name, 0);
AT(gf_tensor_spec, shape, 8);
AT(gf_tensor_spec, dims, 16);
AT(gf_tensor_spec, dtype, 24);
AT(gf_tensor_spec, rank, 28);
SIZE(gf_tensor_spec, 32);

AT(gf_variable_spec, tensor, 0);
AT(gf_variable_spec, value, 32);
AT(gf_variable_spec, optional, 40);
AT(gf_variable_spec, reserved, 44);
SIZE(gf_variable_spec, 48);

AT(gf_signature_spec, name, 0);
AT(gf_signature_spec, sizes, 8);
AT(gf_signature_spec, feeds, 16);
AT(gf_signature_spec, outputs, 24);
AT(gf_signature_spec, symbols, 32);
AT(gf_signature_spec, size_count, 40);
AT(gf_signature_spec, feed_count, 44);
AT(gf_signature_spec, output_count, 48);
AT(gf_signature_spec, symbol_count, 52);
SIZE(gf_signature_spec, 56);

AT(gf_step_spec, description, 0);
AT(gf_step_spec, sizes, 8);
AT(gf_step_spec, step, 16);
AT(gf_step_spec, sites, 24);
AT(gf_step_spec, checks, 32);
AT(gf_step_spec, site_count, 40);
AT(gf_step_spec, check_count, 44);
SIZE(gf_step_spec, 48);

AT(gf_variant_spec, name, 0);
AT(gf_variant_spec, features, 8);
AT(gf_variant_spec, steps, 16);
SIZE(gf_variant_spec, 24);

AT(gf_model_spec, form, 0);
AT(gf_model_spec, abi, 4);
AT(gf_model_spec, name, 8);
AT(gf_model_spec, version, 16);
AT(gf_model_spec, target, 24);
AT(gf_model_spec, hash, 32);
AT(gf_model_spec, variables, 40);
AT(gf_model_spec, signatures, 48);
AT(gf_model_spec, variants, 56);
AT(gf_model_spec, variable_count, 64);
AT(gf_model_spec, signature_count, 68);
AT(gf_model_spec, variant_count, 72);
AT(gf_model_spec, reserved, 76);
AT(gf_model_spec, weights_bytes, 80);
SIZE(gf_model_spec, 88);

AT(gf_model_options, threads, 0);
AT(gf_model_options, reserved, 4);
AT(gf_model_options, parallel, 8);
AT(gf_model_options, pool, 16);
AT(gf_model_options, arena, 24);
AT(gf_model_options, arena_bytes, 32);
AT(gf_model_options, weights, 40);
AT(gf_model_options, instruction_set, 48);
SIZE(gf_model_options, 56);

AT(gf_argument, data, 0);
AT(gf_argument, dims, 8);
SIZE(gf_argument, 16);

AT(gf_result, data, 0);
AT(gf_result, bytes, 8);
AT(gf_result, dims, 16);
SIZE(gf_result, 24);

AT(gf_named, name, 0);
AT(gf_named, dtype, 8);
AT(gf_named, rank, 12);
AT(gf_named, dims, 16);
AT(gf_named, data, 24);
AT(gf_named, bytes, 32);
SIZE(gf_named, 40);

AT(gf_model_functions, form, 0);
AT(gf_model_functions, reserved, 4);
AT(gf_model_functions, create, 8);
AT(gf_model_functions, destroy, 16);
AT(gf_model_functions, instruction_set, 24);
AT(gf_model_functions, run, 32);
AT(gf_model_functions, run_named, 40);
AT(gf_model_functions, reserve, 48);
AT(gf_model_functions, arena_bytes, 56);
AT(gf_model_functions, get, 64);
AT(gf_model_functions, set, 72);
AT(gf_model_functions, save, 80);
AT(gf_model_functions, load, 88);
AT(gf_model_functions, message, 96);
SIZE(gf_model_functions, 104);

AT(gf_model_export, spec, 0);
AT(gf_model_export, functions, 8);
SIZE(gf_model_export, 16);

#endif

typedef int gf_frozen_checked; /* ISO C wants something here */
