// What the proofs of the C library share: checks, and models and sessions to check with.
#ifndef PROOF_H
#define PROOF_H

#define _GNU_SOURCE
#include <kinglet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ends the program with the place when the condition does not hold.
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
// Ends the program with the place when the call returns another status.
#define RETURNS(name, call) \
  check_status(KINGLET_STATUS_##name, (call), #call, __FILE__, __LINE__)

void check(bool holds, const char *what, const char *file, int line);
void check_status(kinglet_status expected, kinglet_status status, const char *call,
                  const char *file, int line);

// Two small models of different shapes, set by the programs: MODEL has a chat template.
extern const char *MODEL, *OTHER_MODEL;

// MODEL, signed.
extern const char *SIGNED_MODEL;

// What `kinglet compile-schema --tools` makes of two functions, see tests/c_proof.rs.
extern const char *TOOLS;

// By how many bytes memory grows that is too little: one, or more where that takes too long.
extern size_t STEP;

// Memory of the caller's at a multiple of KINGLET_ALIGNMENT, exactly as long as asked.
void *take(size_t bytes);

// A whole file in memory of the caller's.
void *read_file(const char *path, size_t *bytes);

// Handles in the library's own memory.
kinglet_model *open_model(const char *path);
kinglet_session *new_session(const kinglet_model *model, const kinglet_session_options *options);

// Does work on a thread with a stack of so many bytes.
void run_on_stack(size_t bytes, void *(*work)(void *user), void *user);

// Options with the size, a context of 64, a batch of 8 and nothing else.
kinglet_session_options small_options(void);

// A session of small_options with a prompt.
kinglet_session *new_prompted(const kinglet_model *model);

#define PROMPT_TOKENS 12
extern const uint32_t PROMPT[PROMPT_TOKENS];

// Generates until `capacity` tokens or the end; returns their number.
size_t generate_tokens(kinglet_session *session, uint32_t *tokens, size_t capacity,
                       kinglet_generation *told);

// The text of a reply, which `hear` puts together piece by piece, a zero behind it.
typedef struct {
  char text[4096];
  size_t bytes;
} words;
int hear(void *words_so_far, uint32_t token, const char *text, size_t text_bytes);

// What `kinglet compile-schema` makes of {"enum": [1, 12, true]}.
#define TABLE_BYTES 72
extern const unsigned char TABLE[TABLE_BYTES];

// Pointers that are no handle of a kind, made of one that is open.
typedef struct {
  void *handles[96];
  size_t count;
  char *foreign;
  void *copied;
} wrong_handles;
wrong_handles make_wrong(void *open, size_t bytes, void *of_other_kind);
void free_wrong(wrong_handles *wrong);

// The proofs, one for each file.
void prove_library(void);
void prove_models(void);
void prove_signed(void);
void prove_tokens(void);
void prove_sessions(void);
void prove_choices(void);
void prove_replies(void);
void prove_constraints(void);
void prove_tools(void);
void prove_states(void);
void prove_texts(void);
void prove_threads(void);
void prove_faults(void);
void prove_memory(void);
void prove_answers(void);

#endif
