// The tables, as a list of steps from an empty file to today. A step that was released is never edited: a change of the
// schema is a new step at the end.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "loader/base/result.h"
#include "userspace/store/database.h"

namespace fastnet {

constexpr std::int32_t kApplicationId = 0x664e6574;  // "fNet" in the file's header: tells our files from anybody's

/// Script i leads from version i to i + 1.
std::span<const std::string_view> schema_steps();

/// Runs the steps that @p db lacks, all in one transaction. Safe when several processes do it at once.
/// A version above @p steps: error that says so, file untouched.
Status migrate(Database& db, std::span<const std::string_view> steps);

}  // namespace fastnet
