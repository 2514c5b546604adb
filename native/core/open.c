/* Opens exported shared libraries. See open.h. */
#include "graphflow/open.h"

#ifndef __wasm__ /* which has no shared libraries */

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/manifest.h"
#include "message.h"

struct gf_opened {
    void *library;
    const gf_model_export *model_export;
    gf_model *model;
};

static int32_t open_library(gf_opened *opened, const char *path, const gf_model_options *options)
{
    opened->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (opened->library == NULL) {
        return gf_say(GF_IO_ERROR, "%s", dlerror());
    }
    opened->model_export = dlsym(opened->library, "gf_model_entry");
    if (opened->model_export == NULL) {
        return gf_say(GF_BAD_FILE, "%s is no model that graphflow exported", path);
    }
    const gf_model_functions *functions = opened->model_export->functions;
    if (functions->form < 1 || functions->form > GF_MODEL_FORM) {
        return gf_say(GF_BAD_FILE, "%s was exported by graphflow %s, which is newer than this host",
                      path, opened->model_export->spec->version);
    }
    int32_t status = functions->create(opened->model_export->spec, options, &opened->model);
    return status == GF_OK ? GF_OK : gf_say(status, "%s", functions->message());
}

/* dlopen takes a name without a slash for one to be searched for: here it is a file. */
static int32_t open_file(gf_opened *opened, const char *path, const gf_model_options *options)
{
    if (strchr(path, '/') != NULL) {
        return open_library(opened, path, options);
    }
    size_t bytes = strlen(path) + 3;
    char *here = malloc(bytes);
    if (here == NULL) {
        return gf_say(GF_NO_MEMORY, "no memory to open %s", path);
    }
    memcpy(here, "./", 2);
    memcpy(here + 2, path, bytes - 2);
    int32_t status = open_library(opened, here, options);
    free(here);
    return status;
}

static int32_t open_manifest(gf_opened *opened, const char *path, const gf_model_options *options)
{
    int32_t room;
    const gf_manifest *manifest;
    gf_model_options with_weights = options ? *options : (gf_model_options){0};
    char *message = gf_message_room(&room);
    int32_t status = gf_manifest_open(path, &manifest, message, (size_t)room);
    if (status != GF_OK) {
        return status;
    }
    if (with_weights.weights == NULL) {
        with_weights.weights = manifest->weights;
    }
    status = manifest->library ? open_file(opened, manifest->library, &with_weights)
                               : gf_say(GF_BAD_FILE, "%s names no shared library", path);
    gf_manifest_close(manifest);
    return status;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), part = strlen(end);
    return length >= part && strcmp(text + length - part, end) == 0;
}

int32_t gf_model_open(const char *path, const gf_model_options *options, gf_opened **opened)
{
    if (opened != NULL) {
        *opened = NULL;
    }
    if (path == NULL || opened == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "open: the %s is NULL", path ? "place for the model" : "path");
    }
    gf_opened *new = calloc(1, sizeof *new);
    if (new == NULL) {
        return gf_say(GF_NO_MEMORY, "no memory to open %s", path);
    }
    int32_t status = ends_with(path, ".json") ? open_manifest(new, path, options)
                                              : open_file(new, path, options);
    if (status != GF_OK) {
        gf_opened_close(new);
        return status;
    }
    *opened = new;
    return GF_OK;
}

void gf_opened_close(gf_opened *opened)
{
    if (opened == NULL) {
        return;
    }
    if (opened->model != NULL) {
        opened->model_export->functions->destroy(opened->model);
    }
    if (opened->library != NULL) {
        dlclose(opened->library);
    }
    free(opened);
}

const gf_model_spec *gf_opened_spec(const gf_opened *opened)
{
    return opened->model_export->spec;
}

const gf_model_functions *gf_opened_functions(const gf_opened *opened)
{
    return opened->model_export->functions;
}

gf_model *gf_opened_model(const gf_opened *opened)
{
    return opened->model;
}

int32_t gf_opened_run(gf_opened *opened, const char *signature, const gf_named *feeds,
                      int32_t feed_count, const gf_named *results, int32_t result_count)
{
    return opened->model_export->functions->run_named(opened->model, signature, feeds, feed_count,
                                                      results, result_count);
}

const char *gf_opened_message(const gf_opened *opened)
{
    return opened ? opened->model_export->functions->message() : gf_message();
}

#endif
