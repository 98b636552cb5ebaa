import { slice } from './cluster-slice.ts';

slice(101, 234);
