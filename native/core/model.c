/* Models: made of a spec, and looked at. */
#include <stdlib.h>
#include <string.h>

#include "graphflow/cpu.h"
#include "model_internal.h"

enum { SPIN_US = 100, OLDEST_FORM = 1 };

int64_t gf_variable_bytes(const gf_variable_spec *variable)
{
    int64_t bytes = gf_dtype_bytes(variable->tensor.dtype);
    for (int32_t i = 0; i < variable->tensor.rank; i++) {
        if (variable->tensor.dims[i] < 0 ||
            __builtin_mul_overflow(bytes, variable->tensor.dims[i], &bytes)) {
            return -1;
        }
    }
    return bytes;
}

/* The best variant this processor runs, or the one asked for. */
static int32_t choose(const gf_model_spec *spec, const char *wanted, const gf_variant_spec **found)
{
    uint64_t features = gf_cpu_features();
    uint64_t missing = 0;
    *found = NULL;
    for (int32_t i = 0; i < spec->variant_count && *found == NULL; i++) {
        const gf_variant_spec *variant = &spec->variants[i];
        if (wanted != NULL && strcmp(wanted, variant->name) != 0) {
            continue;
        }
        missing = variant->features & ~features;
        if (missing == 0) {
            *found = variant;
        } else if (wanted != NULL) {
            break;
        }
    }
    if (*found != NULL) {
        return GF_OK;
    }
    if (missing == 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s holds no code for instruction set %s", spec->name,
                         wanted);
    }
    char names[256];
    gf_cpu_names(missing, names, sizeof names);
    return gf_say(GF_UNSUPPORTED_CPU, "%s: this processor has no %s, which its code needs",
                     spec->name, names);
}

static int32_t define_variables(gf_model *model)
{
    for (int32_t i = 0; i < model->spec->variable_count; i++) {
        const gf_variable_spec *variable = &model->spec->variables[i];
        int32_t status = gf_store_define(model->store, i);
        if (status != GF_OK) {
            return status;
        }
        if (variable->value == NULL) {
            continue;
        }
        gf_use use = {.slot = i, .writes = 1, .new_rank = variable->tensor.rank};
        status = gf_model_begin(model, &use, 1);
        if (status != GF_OK) {
            return status;
        }
        for (int32_t k = 0; k < variable->tensor.rank; k++) {
            use.new_dims[k] = variable->tensor.dims[k];
        }
        use.after = gf_buffer_borrow(model->heap, variable->value,
                                     (size_t)gf_variable_bytes(variable));
        status = use.after ? GF_OK : GF_NO_MEMORY;
        gf_store_end(model->store, &use, 1, status == GF_OK);
        if (status != GF_OK) {
            return status;
        }
    }
    return GF_OK;
}

/* A late output that does not fit is found when the step has run: until it is committed, the
 * variables must be as they were. */
static int has_late_output(const gf_description *d)
{
    for (int32_t i = 0; i < d->output_count; i++) {
        if (d->outputs[i].late) {
            return 1;
        }
    }
    return 0;
}

static int32_t create_executable(gf_model *model, int32_t signature)
{
    const gf_step_spec *step = &model->variant->steps[signature];
    gf_step_code code = {.sizes = step->sizes, .step = step->step};
    gf_description description = *step->description;
    gf_state_spec *states = NULL;
    if (has_late_output(&description) && description.state_count > 0) {
        states = malloc((size_t)description.state_count * sizeof *states);
        if (states == NULL) {
            return GF_NO_MEMORY;
        }
        for (int32_t i = 0; i < description.state_count; i++) {
            states[i] = description.states[i];
            states[i].in_place = 0;
        }
        description.states = states;
    }
    int32_t room;
    char *message = gf_message_room(&room);
    message[0] = 0;
    int32_t status = gf_executable_create(&description, &code, &model->executables[signature],
                                          message, (size_t)room);
    free(states);
    return status;
}

static int32_t fill(gf_model *model, const gf_model_options *options)
{
    const gf_model_spec *spec = model->spec;
    model->heap = gf_heap_create(SIZE_MAX);
    model->store = model->heap ? gf_store_create(model->heap) : NULL;
    model->executables = calloc((size_t)spec->signature_count + 1, sizeof *model->executables);
    model->pool = options->parallel
                      ? gf_pool_hosted(options->pool, options->threads, options->parallel)
                      : gf_pool_create(options->threads, SPIN_US);
    if (!model->store || !model->executables || !model->pool) {
        return GF_NO_MEMORY;
    }
    int32_t status = define_variables(model);
    for (int32_t i = 0; status == GF_OK && i < spec->signature_count; i++) {
        status = create_executable(model, i);
    }
    if (status == GF_OK && options->weights != NULL) {
        status = gf_model_load(model, options->weights);
    }
    return status;
}

int32_t gf_model_create(const gf_model_spec *spec, const gf_model_options *options,
                        gf_model **model)
{
    static const gf_model_options usual;
    const gf_variant_spec *variant;
    if (model == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "there is no place for the model: its pointer is NULL");
    }
    *model = NULL;
    if (spec == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "there is no model: its spec is NULL");
    }
    if (spec->form < OLDEST_FORM || spec->form > GF_MODEL_FORM || spec->abi > GF_ABI_VERSION) {
        return gf_say(GF_BAD_DESCRIPTION,
                         "%s was exported by graphflow %s, whose form this runtime does not know",
                         spec->name, spec->version);
    }
    options = options ? options : &usual;
    if ((uintptr_t)options->arena % GF_ARENA_ALIGNMENT != 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s: the arena is not aligned to %d bytes", spec->name,
                         GF_ARENA_ALIGNMENT);
    }
    int32_t status = choose(spec, options->instruction_set, &variant);
    if (status != GF_OK) {
        return status;
    }
    gf_model *new = calloc(1, sizeof *new);
    if (new == NULL) {
        return gf_say(GF_NO_MEMORY, "no memory for %s", spec->name);
    }
    new->spec = spec;
    new->variant = variant;
    new->arena = options->arena;
    new->arena_bytes = options->arena_bytes;
    gf_mutex_init(&new->arena_turn);
    status = fill(new, options);
    if (status != GF_OK) {
        if (status == GF_NO_MEMORY) {
            gf_say(status, "no memory for %s", spec->name);
        }
        gf_model_destroy(new);
        return status;
    }
    *model = new;
    return GF_OK;
}

void gf_model_destroy(gf_model *model)
{
    if (model == NULL) {
        return;
    }
    for (int32_t i = 0; model->executables != NULL && i < model->spec->signature_count; i++) {
        gf_executable_destroy(model->executables[i]);
    }
    free(model->executables);
    gf_pool_destroy(model->pool);
    if (model->store != NULL) {
        gf_store_destroy(model->store);
    }
    if (model->heap != NULL) {
        gf_heap_close(model->heap);
    }
    gf_mutex_destroy(&model->arena_turn);
    free(model);
}

const gf_model_spec *gf_model_describe(const gf_model *model)
{
    return model->spec;
}

const char *gf_model_instruction_set(const gf_model *model)
{
    return model->variant->name;
}

int32_t gf_model_signature(const gf_model *model, const char *name)
{
    for (int32_t i = 0; name != NULL && i < model->spec->signature_count; i++) {
        if (strcmp(model->spec->signatures[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int32_t gf_model_variable(const gf_model *model, const char *name)
{
    for (int32_t i = 0; name != NULL && i < model->spec->variable_count; i++) {
        if (strcmp(model->spec->variables[i].tensor.name, name) == 0) {
            return i;
        }
    }
    return -1;
}
