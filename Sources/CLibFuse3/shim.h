/* The package-configuration flags of libfuse3; everything else is in the CFuse target. */
#pragma once
