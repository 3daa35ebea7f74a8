# add_bpf_program(NAME SOURCE): NAME.bpf.o by clang, NAME.skel.h by bpftool, and the INTERFACE library NAME_skel.
# SKELETON gives the skeleton, and its header, another name than the program's.
# A depfile makes an edit of any ABI header rebuild object, skeleton and the C++ that includes it.
find_program(CLANG NAMES clang-14 clang REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

function(add_bpf_program name source)
  cmake_parse_arguments(PARSE_ARGV 2 bpf "" "SKELETON" "")
  if(NOT bpf_SKELETON)
    set(bpf_SKELETON ${name})
  endif()
  set(source_path ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${bpf_SKELETON}.skel.h)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter
            -I${CMAKE_SOURCE_DIR} -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -MD -MT ${object} -MF ${object}.d -c ${source_path} -o ${object}
    DEPENDS ${source_path}
    DEPFILE ${object}.d
    COMMENT "BPF ${name}" VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${BPFTOOL} gen skeleton ${object} name ${bpf_SKELETON} > ${skeleton}
    DEPENDS ${object}
    COMMENT "Skeleton ${name}" VERBATIM)
  add_custom_target(${name}_skel_header DEPENDS ${skeleton})
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_header)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name}_skel INTERFACE PkgConfig::LIBBPF)
endfunction()
