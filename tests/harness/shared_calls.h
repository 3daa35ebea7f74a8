// What the agent does to a node, without an agent: one call of control (userspace/control/shared.h) by a small program of the tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/harness/lab_node.h"

namespace fastnet::test {

/// `{"do": "apply", ...}` as tests/harness/shared_driver.cpp takes it.
CommandResult call_shared(const LabNode& node, const nlohmann::json& request, RunOptions options = {});
/// One that must succeed: its answer.
nlohmann::json must_call_shared(const LabNode& node, const nlohmann::json& request);

/// An endpoint of another node, for `put` of `apply`.
nlohmann::json remote_spec(const std::string& ref, const std::string& uid, const std::string& ipv4, const std::string& peer,
                           const std::string& node = "n2");
/// The MAC that fastnet gives with @p ipv4.
std::string mac_for(const std::string& ipv4);

}  // namespace fastnet::test
