# Used only when bench/ is configured alone: the main build brings tools/cmake/BpfProgram.cmake.
# Same call, same result: add_bpf_program(NAME SOURCE) makes NAME.skel.h, offered by the INTERFACE target NAME_skel.
find_program(FNBENCH_BPF_CLANG NAMES clang-14 clang REQUIRED)
find_program(FNBENCH_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

function(add_bpf_program name source_name)
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/${source_name})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
    set(header ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
    add_custom_command(
        OUTPUT ${object}
        COMMAND ${FNBENCH_BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror
                -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -MD -MT ${object} -MF ${object}.d -c ${source} -o ${object}
        DEPENDS ${source}
        DEPFILE ${object}.d
        VERBATIM)
    add_custom_command(
        OUTPUT ${header}
        COMMAND ${FNBENCH_BPFTOOL} gen skeleton ${object} name ${name} > ${header}
        DEPENDS ${object}
        VERBATIM)
    add_custom_target(${name}_skel_header DEPENDS ${header})
    add_library(${name}_skel INTERFACE)
    add_dependencies(${name}_skel ${name}_skel_header)
    target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
    target_link_libraries(${name}_skel INTERFACE bpf)
endfunction()
