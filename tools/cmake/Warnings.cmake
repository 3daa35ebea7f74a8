# Every target of ours links this; system headers are exempt.
add_library(fastnet_warnings INTERFACE)
target_compile_options(fastnet_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor -Werror>)
