// SPDX-License-Identifier: Apache-2.0
// The layouts of abi/dcgm*.h against what NVIDIA publishes. The numbers are not computed from our
// header: sizes and offsets are those that ctypes gives for the classes of NVIDIA/DCGM
// testing/python3/dcgm_structs.py (c_dcgmFieldValue_v1 and _v2, c_dcgmConnectV2Params_v2: the same
// at 4ff1bc2 (DCGM 2) and 1477d87 (DCGM 4)); what has no Python class is from
// dcgmlib/dcgm_structs.h at 72fa3fe. Ids and blanks are from dcgm_fields.py (28bfbd4) and
// dcgmvalue.py (37b325d).
#include <doctest/doctest.h>

#include "abi/dcgm2.h"
#include "abi/dcgm4.h"

using namespace pyenergy::dcgm;

TEST_CASE("dcgm: a field's value lies where NVIDIA's bindings read it") {
  CHECK(sizeof(FieldValue1) == 4120);
  CHECK(offsetof(FieldValue1, version) == 0);
  CHECK(offsetof(FieldValue1, field_id) == 4);
  CHECK(offsetof(FieldValue1, field_type) == 6);
  CHECK(offsetof(FieldValue1, status) == 8);
  CHECK(offsetof(FieldValue1, ts_us) == 16);
  CHECK(offsetof(FieldValue1, value) == 24);
  CHECK(version_of<FieldValue1>(1) == 0x01001018);

  CHECK(sizeof(FieldValue2) == 4128);
  CHECK(offsetof(FieldValue2, entity_group) == 4);
  CHECK(offsetof(FieldValue2, entity_id) == 8);
  CHECK(offsetof(FieldValue2, field_id) == 12);
  CHECK(offsetof(FieldValue2, field_type) == 14);
  CHECK(offsetof(FieldValue2, status) == 16);
  CHECK(offsetof(FieldValue2, unused) == 20);
  CHECK(offsetof(FieldValue2, ts_us) == 24);
  CHECK(offsetof(FieldValue2, value) == 32);
  CHECK(version_of<FieldValue2>(2) == 0x02001020);
}

TEST_CASE("dcgm: the parameters of a connection and of a start are of the published size") {
  CHECK(version_of<ConnectParams2>(2) == 0x02000010);
  CHECK(offsetof(ConnectParams2, timeout_ms) == 8);
  CHECK(offsetof(ConnectParams2, address_is_unix_socket) == 12);
  CHECK(sizeof(EntityPair) == 8);

  CHECK(version_of<StartParams1>(1) == 0x01000048);
  CHECK(offsetof(StartParams1, handle) == 8);
  CHECK(offsetof(StartParams1, log_file) == 16);
  CHECK(offsetof(StartParams1, severity) == 24);
  CHECK(offsetof(StartParams1, deny) == 32);

  CHECK(version_of<StartParams3>(3) == 0x03000068);
  CHECK(offsetof(StartParams3, handle) == 8);
  CHECK(offsetof(StartParams3, service_account) == 32);
  CHECK(offsetof(StartParams3, deny) == 40);
}

TEST_CASE("dcgm: blanks, types and field ids are the published ones") {
  CHECK(kInt64Blank == 9223372036854775792);
  CHECK(kFp64Blank == 140737488355328.0);
  CHECK(kFp64Blank + kBlankNotPermissioned == 140737488355331.0);  // still exact
  CHECK(kTypeDouble == 100);
  CHECK(kTypeInt64 == 105);
  CHECK(kTypeString == 115);
  CHECK(kName == 50);
  CHECK(kUuid == 54);
  CHECK(kPciBusId == 57);
  CHECK(kComputeCapability == 63);
  CHECK(kPowerUsage == 155);
  CHECK(kTotalEnergy == 156);
  CHECK(kPowerInstant == 157);
  CHECK(kPowerLimitMax == 162);
  CHECK(kEnforcedPowerLimit == 164);
  CHECK(kSmActive == 1002);
  CHECK(kTensorActive == 1004);
  CHECK(kDramActive == 1005);
  CHECK(kFp64Active == 1006);
  CHECK(kFp32Active == 1007);
  CHECK(kFp16Active == 1008);
}
