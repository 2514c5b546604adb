"""Machine code from Loop kernels and Plans, through the text of LLVM IR."""
