/** The Redis whose commands, replies and error texts are followed; told to clients that switch features on by version. */
export const REDIS_VERSION = '7.0.15';
